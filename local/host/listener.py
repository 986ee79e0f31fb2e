"""A queue listener: fetches messages, calls the function, settles the messages, renews their leases.

It does what the Functions host does (its QueueListener and QueueProcessor, Storage extension 5.x):

==========================================  ================================================================
the function returned                       the message is deleted
it failed, dequeue count < maxDequeueCount  visible again after visibilityTimeout
it failed, dequeue count ≥ maxDequeueCount  the bare body goes to `<queue>-poison` (created where absent)
                                            with a TTL of 7 days, then the message is deleted
received with a count > maxDequeueCount     the same, but the function is not called: instances died with it
the host died with the function             visible again when its lease ends: 10 minutes, renewed at half
==========================================  ================================================================

It failed when it raised, and when its worker died, which fails all invocations of the worker together.

A queue whose name ends in `-poison` has no poison queue. A message that failed there is visible again when its lease
ends, not after visibilityTimeout. One over maxDequeueCount is skipped each time it is received, until its TTL ends.
From version 5.3.8 of the extension on, the function is called for it as before.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING

from azure.core.exceptions import ResourceNotFoundError

from local.host.leased_message import LeasedMessage, first_line
from local.host.protocol import InvocationFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from azure.storage.queue import QueueClient, QueueMessage

    from shared.host_json import QueueOptions

LEASE_SECONDS = 600.0
POISON_TTL_SECONDS = 7 * 24 * 3600
FIRST_POLL_SECONDS = 0.1

_log = logging.getLogger("local.host")


class Listener:
    """Delivers one queue's messages to one function, until stopped.

    Args:
        name: The function's name, for the log.
        queue: The queue. Its client neither encodes nor decodes.
        poison: Its poison queue, or `None`.
        call: Calls the function with the message, and raises `InvocationFailed` where it failed.
        pool: A thread for each message that all listeners hold at a time.
        options: host.json's `extensions.queues`.
        lease_seconds: How long a fetched message is invisible. The lease is renewed at half of it.
        skips_over_limit: Whether a message over maxDequeueCount is skipped where there is no poison queue.
    """

    def __init__(
        self,
        *,
        name: str,
        queue: QueueClient,
        poison: QueueClient | None,
        call: Callable[[QueueMessage], None],
        pool: Executor,
        options: QueueOptions,
        lease_seconds: float = LEASE_SECONDS,
        skips_over_limit: bool = True,
    ) -> None:
        self._name, self._queue, self._poison, self._call = name, queue, poison, call
        self._pool, self._options, self._lease = pool, options, lease_seconds
        self._skips_over_limit = skips_over_limit
        self._running: set[LeasedMessage] = set()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._drained = threading.Event()
        self._fetcher = threading.Thread(target=self._listen, name=f"{name}-fetch", daemon=True)
        self._renewer = threading.Thread(target=self._renew_leases, name=f"{name}-leases", daemon=True)

    def start(self) -> None:
        """Start fetching."""
        self._renewer.start()
        self._fetcher.start()

    def stop(self) -> None:
        """Stop fetching. Calls in progress continue."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()

    def drain(self, timeout: float) -> int:
        """Wait for the calls in progress. Needs `stop` first.

        Returns:
            The number of calls that still run after `timeout` seconds. Their messages are delivered again.
        """
        deadline = time.monotonic() + timeout
        self._fetcher.join(timeout)
        with self._changed:
            self._changed.wait_for(lambda: not self._running, max(0.0, deadline - time.monotonic()))
            left = len(self._running)
        self._drained.set()
        self._renewer.join(max(0.0, deadline - time.monotonic()))
        return left

    def _listen(self) -> None:
        """Fetch a batch whenever at most newBatchThreshold calls run. Back off while the queue is empty."""
        delay, healthy = FIRST_POLL_SECONDS, True
        while not self._stopping.is_set():
            fetched = 0
            try:
                fetched = self._fetch()
            except Exception as error:  # noqa: BLE001 - a storage error must not end the listener
                if healthy:
                    _log.warning("%s: cannot read %s: %s", self._name, self._queue.queue_name, first_line(error))
                healthy = False
            else:
                if not healthy:
                    _log.info("%s: reads %s again", self._name, self._queue.queue_name)
                healthy = True
            if fetched:
                delay = FIRST_POLL_SECONDS
                with self._changed:
                    self._changed.wait_for(self._may_fetch)
            else:
                self._stopping.wait(delay)
                delay = min(self._options.max_polling_interval, delay * random.uniform(1.8, 2.2))

    def _may_fetch(self) -> bool:
        return self._stopping.is_set() or len(self._running) <= self._options.new_batch_threshold

    def _fetch(self) -> int:
        """Receive one batch, hand it over, and return its size."""
        requested_at = time.monotonic()
        # One page is one request. Iterating over all pages would request until the queue is empty.
        pages = self._queue.receive_messages(
            messages_per_page=self._options.batch_size, visibility_timeout=round(self._lease), retry_total=0
        ).by_page()
        batch = list(next(pages, ()))
        for message in batch:
            leased = LeasedMessage(self._queue, message, self._lease, requested_at)
            with self._changed:
                self._running.add(leased)
            self._pool.submit(self._deliver, leased)
        return len(batch)

    def _renew_leases(self) -> None:
        while not self._drained.wait(min(1.0, self._lease / 20)):
            with self._changed:
                running = list(self._running)
            for leased in running:
                leased.renew_if_due()

    # The methods below run in a thread of the pool, so that messages wait and are settled in parallel.

    def _deliver(self, leased: LeasedMessage) -> None:
        try:
            if self._is_over_limit(leased):
                self._move_to_poison(leased)
            elif self._succeeds(leased):
                leased.delete()
            elif self._poison is not None and leased.dequeue_count < self._options.max_dequeue_count:
                leased.release(self._options.visibility_timeout)
            elif self._poison is not None:
                self._move_to_poison(leased)
        except Exception as error:  # noqa: BLE001 - the pool would discard it
            _log.warning("%s: cannot settle %s, it comes back: %s", self._name, leased, first_line(error))
        finally:
            with self._changed:
                self._running.discard(leased)
                self._changed.notify_all()

    def _is_over_limit(self, leased: LeasedMessage) -> bool:
        over = leased.dequeue_count > self._options.max_dequeue_count
        return over and (self._poison is not None or self._skips_over_limit)

    def _succeeds(self, leased: LeasedMessage) -> bool:
        started = time.monotonic()
        try:
            self._call(leased.message)
        except InvocationFailed as failed:
            _log.error("%s: %s failed after %.3f s: %s", self._name, leased, time.monotonic() - started, failed)
            return False
        _log.info("%s: %s succeeded in %.3f s", self._name, leased, time.monotonic() - started)
        return True

    def _move_to_poison(self, leased: LeasedMessage) -> None:
        """Copy the bare body to the poison queue, then delete the message."""
        if self._poison is None:
            _log.warning("%s: %s is skipped: over maxDequeueCount, no poison queue", self._name, leased)
            return
        _log.warning("%s: %s goes to %s", self._name, leased, self._poison.queue_name)
        try:
            self._poison.send_message(leased.message.content, time_to_live=POISON_TTL_SECONDS)
        except ResourceNotFoundError:
            self._poison.create_queue()  # returns 204 where another process created it first
            self._poison.send_message(leased.message.content, time_to_live=POISON_TTL_SECONDS)
        leased.delete()
