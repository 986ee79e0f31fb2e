"""How much of its slots an instance uses, by host.json's batchSize and newBatchThreshold. Pure.

The host's listener fetches a batch when at most newBatchThreshold messages run, and not before:

    32/0    fetches 32, then waits for the slowest of them
    4/28    refills as every fourth ends
"""

from __future__ import annotations

import heapq
import math
import random

PAIRS = ((32, 0), (24, 8), (16, 16), (8, 24), (4, 28), (2, 30), (1, 31))
"""All of them 32 in flight."""


def use(
    batch_size: int,
    threshold: int,
    *,
    latency: float = 2.0,
    sigma: float = 0.5,
    fetch: float = 0.01,
    carts: int = 20_000,
    seed: int = 1,
) -> float:
    """The share of batch_size + threshold slots that is busy, with a queue that is never empty.

    ``latency``: the service's mean, in seconds; ``sigma`` above 0 makes it lognormal. ``fetch``: seconds that a
    request for messages takes; one is made at a time.
    """
    dice = random.Random(seed)  # noqa: S311  no cryptography
    running: list[float] = []  # when each ends
    now, busy, done = 0.0, 0.0, 0
    while done < carts:
        while len(running) > threshold:
            now = max(now, heapq.heappop(running))
        now += fetch
        while running and running[0] <= now:
            heapq.heappop(running)
        for _ in range(batch_size):
            seconds = dice.lognormvariate(math.log(latency) - sigma**2 / 2, sigma) if sigma else latency
            heapq.heappush(running, now + seconds)
            busy += seconds
            done += 1
    end = max(running)
    return busy / (end * (batch_size + threshold))
