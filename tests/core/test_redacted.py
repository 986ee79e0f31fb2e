from typing import ClassVar

import pytest
from msgspec.structs import replace

from shared.core.redacted import Redacted


class Parcel(Redacted, frozen=True):
    redacted_fields: ClassVar[frozenset[str]] = frozenset({"content"})

    number: int
    content: str = ""


def test_a_repr_shows_all_but_the_hidden_fields() -> None:
    assert repr(Parcel(7, "a surprise")) == "Parcel(number=7)"
    assert f"{[Parcel(7, 'a surprise')]}" == "[Parcel(number=7)]"


def test_hidden_fields_are_compared_and_copied_like_all_others() -> None:
    assert Parcel(7, "a") != Parcel(7, "b")
    assert replace(Parcel(7, "a"), number=8) == Parcel(8, "a")


def test_nothing_is_redacted_or_changed_by_accident() -> None:
    parcel = Parcel(7)
    with pytest.raises(AttributeError, match="immutable"):
        parcel.number = 8  # type: ignore[misc]
    assert Redacted.redacted_fields == frozenset()
