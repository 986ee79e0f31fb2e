"""The share of its slots that an instance uses, by batchSize and newBatchThreshold of host.json. Pure.

The host's listener fetches a batch as soon as at most newBatchThreshold messages are in progress:

    32/0    fetches 32, then waits for the slowest of them
    4/28    fetches four whenever four have ended
"""

from __future__ import annotations

import heapq
from random import Random

from bench.latency import draw

PAIRS = ((32, 0), (24, 8), (16, 16), (8, 24), (4, 28), (2, 30), (1, 31))
"""Pairs of batchSize and newBatchThreshold with 32 messages in flight."""
LATENCY = 2.0
"""Seconds that a checkout takes, on average."""


def utilization(
    batch_size: int, threshold: int, *, sigma: float = 0.5, fetch: float = 0.01, carts: int = 20_000
) -> float:
    """The share of `batch_size` + `threshold` slots that is busy while the queue is never empty.

    Args:
        batch_size: Messages that one request fetches.
        threshold: Messages in progress at which the next request is made.
        sigma: Above 0, checkouts take lognormal times.
        fetch: Seconds that a request for messages takes; one is made at a time.
        carts: Carts to simulate.
    """
    random = Random(1)  # noqa: S311  not for cryptography
    running: list[float] = []  # when each ends
    now, busy, done = 0.0, 0.0, 0
    while done < carts:
        while len(running) > threshold:
            now = max(now, heapq.heappop(running))
        now += fetch
        while running and running[0] <= now:
            heapq.heappop(running)
        for _ in range(batch_size):
            seconds = draw(random, LATENCY, sigma)
            heapq.heappush(running, now + seconds)
            busy += seconds
            done += 1
    end = max(running)
    return busy / (end * (batch_size + threshold))
