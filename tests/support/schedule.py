"""Virtual time for concurrent workers: threads that take turns, so that a run is fast and deterministic.

`advance`, which a simulated call uses for its duration, blocks the caller until the schedule reaches that time. Exactly
one thread runs at any time, and time jumps from one wake-up to the next.
"""

import heapq
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from shared.checkout import Checkout
from shared.core.messages import Delivery
from tests.support.memory import MemoryQueue, VirtualClock


class Schedule(VirtualClock):
    """A clock on which tasks sleep."""

    def __init__(self) -> None:
        super().__init__()
        self._wakes: list[tuple[float, int, threading.Event]] = []
        self._order = itertools.count()
        self._turn = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=512)
        self._failure: BaseException | None = None

    def advance(self, seconds: float) -> None:
        """Sleep, in virtual time."""
        turn = threading.Event()
        heapq.heappush(self._wakes, (self.epoch() + max(seconds, 0.0), next(self._order), turn))
        self._turn.set()
        turn.wait()

    def spawn(self, task: Callable[[], None]) -> None:
        """Start a task at the present time, when its turn comes."""
        mine = threading.Event()
        heapq.heappush(self._wakes, (self.epoch(), next(self._order), mine))

        def run() -> None:
            mine.wait()
            try:
                task()
            except BaseException as error:  # noqa: BLE001  raised again by `run`
                self._failure = error
            self._turn.set()

        self._pool.submit(run)

    def run(self) -> None:
        """Let the tasks take turns until none is left."""
        while self._wakes and self._failure is None:
            at, _, task = heapq.heappop(self._wakes)
            super().advance(at - self.epoch())
            self._turn.clear()
            task.set()
            self._turn.wait()
        for _, _, task in self._wakes:
            task.set()
        self._pool.shutdown()
        if self._failure is not None:
            raise self._failure


def process(
    schedule: Schedule, queue: MemoryQueue, checkout: Checkout, *, batch_size: int = 4, new_batch_threshold: int = 28
) -> None:
    """Run one process of the function app with a listener like the host's, until its queue is empty."""
    running = 0

    def deliver() -> None:
        nonlocal running
        message = queue.receive()
        if message is not None:
            checkout.handle(message.text.encode(), Delivery(message.id, message.dequeue_count, message.inserted_at))
            queue.delete(message)
        running -= 1

    def listen() -> None:
        nonlocal running
        pause = 0.1
        while queue.messages:
            visible = sum(message.visible_at <= schedule.now for message in queue.messages)
            free = running <= new_batch_threshold
            for _ in range(min(batch_size, visible) if free else 0):
                running += 1
                schedule.spawn(deliver)
            pause = 0.1 if visible else min(2.0, pause * 2)
            schedule.advance(0.01 if free and visible > batch_size else pause)

    schedule.spawn(listen)
