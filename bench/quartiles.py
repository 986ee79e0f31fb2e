"""Medians, quartiles and ratios of a few measurements. Pure."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Quartiles:
    """The quartiles of some values; of a single value, that value three times."""

    low: float
    median: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Compute them.

        Raises:
            ValueError: there are no values.
        """
        found = sorted(values)
        if not found:
            raise ValueError("no values")
        if len(found) == 1:
            return cls(found[0], found[0], found[0], 1)
        low, median, high = statistics.quantiles(found, n=4, method="inclusive")
        return cls(low, median, high, len(found))


def ratios(above: Iterable[float], below: Iterable[float]) -> list[float]:
    """The ratio of each round: both values were measured in the same minute, so the machine's speed cancels out.

    Raises:
        ValueError: there are more of one than of the other.
    """
    return [each / other for each, other in zip(above, below, strict=True)]
