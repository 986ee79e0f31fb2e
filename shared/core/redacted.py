"""Values that hold what must not be shown: a repr ends in logs and in exception texts."""

from typing import ClassVar

import msgspec


class Redacted(msgspec.Struct, frozen=True):
    """A frozen value whose repr leaves out the fields named in `hidden`."""

    hidden: ClassVar[frozenset[str]] = frozenset()

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name not in self.hidden)
        return f"{type(self).__name__}({', '.join(shown)})"
