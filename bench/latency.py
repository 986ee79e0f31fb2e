"""The latency of a service: constant or lognormal. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random


def draw(random: Random, mean: float, sigma: float) -> float:
    """The seconds of one call: `mean`, or with a `sigma` above 0 a lognormal time with that mean."""
    if not sigma:
        return mean
    # the mean of a lognormal distribution is exp(mu + sigma²/2)
    return random.lognormvariate(math.log(mean) - sigma**2 / 2, sigma)
