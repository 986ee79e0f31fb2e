"""Values that hold secrets or personal data: a repr ends in logs and in exception texts."""

from typing import ClassVar

import msgspec


class Redacted(msgspec.Struct, frozen=True):
    """A frozen value whose repr leaves out the fields named in `redacted_fields`."""

    redacted_fields: ClassVar[frozenset[str]] = frozenset()

    def __repr__(self) -> str:
        names = (name for name in self.__struct_fields__ if name not in self.redacted_fields)
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"
