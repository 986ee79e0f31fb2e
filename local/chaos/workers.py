"""The hosts of a chaos run: a process each, behind lines of its own, killed at any time and started again.

A worker has three proxies (queue, blob, service), so that the line tells who is asking: a message that is to
kill its worker kills the one that sends the request.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import threading
from collections import Counter
from contextlib import ExitStack
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

from local.azurite import connection_string
from local.chaos.fault_proxy import Exchange, Moment, Proxies, Proxy
from local.chaos.plan import LINES, CrashPoint
from local.host.local_host import DRAIN_SECONDS
from local.process import ManagedProcess, ProcessFailed
from local.stack import ROOT

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from local.chaos.fault_proxy import Watch
    from local.chaos.plan import Crash, Line, LineFault

_CHECKOUT = re.compile(r"/v1/customers/[^/]+/carts/([^/]+)/checkout")
_TEXT = re.compile(rb"<MessageText>(.*?)</MessageText>", re.DOTALL)
_DELIVERED = b"<PopReceipt>"


class CrashInjector:
    """Which messages still kill their workers; how many they have killed is in ``counts``, by point."""

    def __init__(self, deaths: Mapping[str, Crash], settings: Mapping[str, str]) -> None:
        self.counts: Counter[str] = Counter()
        self._left = {cart: death.times for cart, death in deaths.items()}
        self._points = {cart: death.point for cart, death in deaths.items()}
        self._record = re.compile(rf"/[^/]+/{settings['RECORDS_CONTAINER']}/[^/]+/([^/.]+)\.json")
        self._outcomes = f"/{settings['OUTCOMES_QUEUE']}/messages"
        self._carts = f"/{settings['CARTS_QUEUE']}/messages"

    def strike(self, line: Line, exchange: Exchange, moment: Moment, kill: Callable[[], bool]) -> bool:
        """Kill who sends this request, if it is due."""
        point, cart = self._place(line, exchange, moment)
        if point is None or self._points.get(cart) is not point or not self._left[cart] or not kill():
            return False
        self._left[cart] -= 1
        self.counts[point] += 1
        return True

    def _place(self, line: Line, exchange: Exchange, moment: Moment) -> tuple[CrashPoint | None, str]:
        path = exchange.target.partition("?")[0]
        if line != "service" and exchange.status >= HTTPStatus.BAD_REQUEST:
            return None, ""  # nothing was kept, told or sent
        match line, exchange.method, moment:
            case "service", "POST", (Moment.ASKED | Moment.ANSWERED):
                found = _CHECKOUT.fullmatch(path)
                return _either(moment, CrashPoint.BEFORE_POST, CrashPoint.AFTER_POST), found[1] if found else ""
            case "blob", "PUT", (Moment.ASKED | Moment.ANSWERED):
                found = self._record.fullmatch(path)
                return _either(moment, CrashPoint.BEFORE_KEEP, CrashPoint.AFTER_KEEP), found[1] if found else ""
            case "queue", "POST", Moment.ANSWERED if path.endswith(self._outcomes):
                return CrashPoint.AFTER_PUBLISH, _cart_in(exchange.body)
            case "queue", "POST", Moment.ANSWERED if path.endswith(self._carts):
                return CrashPoint.AFTER_DEFER, _cart_in(exchange.body)
        return None, ""


class Workers:
    """Runs the hosts, as a context manager.

    Args:
        count: How many.
        ports: Of the services behind the lines.
        settings: The app settings, without those that lead through the lines.
        app: The folder of function_app.py and host.json.
        deaths: The messages that kill.
        dice: What the proxies throw.
        on_line: Called with each line that a host prints.
    """

    def __init__(
        self,
        count: int,
        *,
        ports: Mapping[Line, int],
        settings: Mapping[str, str],
        app: Path,
        deaths: CrashInjector,
        dice: Callable[[str], random.Random],
        on_line: Callable[[str], None],
    ) -> None:
        """Nothing runs yet."""
        self.killed = 0
        self.deliveries = 0
        self.crashed: list[str] = []
        self._count, self._ports, self._settings, self._app = count, ports, settings, app
        self._deaths, self._dice, self._on_line = deaths, dice, on_line
        self._lines: list[dict[Line, Proxy]] = []
        self._children: list[ManagedProcess] = []
        self._dead: set[int] = set()
        self._lock = threading.Lock()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Start them.

        Raises:
            ChildFailed: One does not start.
        """
        with ExitStack() as stack:
            proxies = stack.enter_context(Proxies())
            for worker in range(self._count):
                self._lines.append({line: self._proxy(proxies, worker, line) for line in LINES})
            stack.callback(self.end)
            for worker in range(self._count):
                self._children.append(self._start(worker))
            for child in self._children:
                child.wait_until_ready("started$")
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def faults(self) -> dict[str, dict[str, int]]:
        """What the lines did, by line and kind."""
        return {line: plain(sum((of[line].counts for of in self._lines), Counter())) for line in LINES}

    def kill(self, worker: int) -> bool:
        """Kill one, unless it is dead already."""
        with self._lock:
            if worker in self._dead:
                return False
            self._dead.add(worker)
            os.kill(self._children[worker].pid, signal.SIGKILL)
            self.killed += 1
            return True

    def revive(self) -> None:
        """Start those again that were killed, and those that ended by themselves, with a note of their last words."""
        with self._lock:
            for worker, child in enumerate(self._children):
                if worker not in self._dead:
                    try:
                        child.check()
                    except ProcessFailed as failed:
                        self.crashed.append(str(failed))
                        self._dead.add(worker)
            for worker in self._dead:
                self._children[worker].terminate(0.0)
                self._children[worker] = self._start(worker)
            self._dead.clear()

    def end(self) -> None:
        """Let them finish what they do, and end them; their lines are whole again."""
        for lines in self._lines:
            for proxy in lines.values():
                proxy.set()
        with self._lock:
            threads = [threading.Thread(target=child.terminate, args=(DRAIN_SECONDS + 5,)) for child in self._children]
            self._children = []
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def begin(self, phase: LineFault) -> None:
        """Break a line."""
        for proxy in self._meant(phase):
            proxy.set(phase.fault)

    def finish(self, phase: LineFault) -> None:
        """Mend it."""
        for proxy in self._meant(phase):
            proxy.set()

    def _meant(self, phase: LineFault) -> list[Proxy]:
        chosen = self._lines if phase.worker is None else [self._lines[phase.worker]]
        return [lines[phase.line] for lines in chosen]

    def _start(self, worker: int) -> ManagedProcess:
        lines = self._lines[worker]
        leading = {
            "CheckoutStorage": connection_string(lines["queue"].port, lines["blob"].port),
            "PARTNER_CENTER_URL": lines["service"].url,
            "IDENTITY_ENDPOINT": f"{lines['service'].url}/msi/token",
        }
        return ManagedProcess.of_module(
            "local.host",
            "--app-dir",
            str(self._app),
            environ=clean_environment() | dict(self._settings) | leading | {"PYTHONFAULTHANDLER": "1"},
            cwd=ROOT,
            on_line=self._on_line,
        )

    def _proxy(self, proxies: Proxies, worker: int, line: Line) -> Proxy:
        return proxies.add(
            self._ports[line],
            dice=self._dice(f"{line} {worker}"),
            watch=self._watch(worker, line),
            # a token that does not come keeps a message waiting for a minute, and that is all it does
            harms=(lambda exchange: exchange.target.startswith("/v1/")) if line == "service" else None,
        )

    def _watch(self, worker: int, line: Line) -> Watch:
        def watch(exchange: Exchange, moment: Moment) -> bool:
            if moment is Moment.DONE:
                if line == "queue" and exchange.method == "GET":
                    self.deliveries += exchange.answer.count(_DELIVERED)
                return False
            return self._deaths.strike(line, exchange, moment, lambda: self.kill(worker))

        return watch


def clean_environment() -> dict[str, str]:
    """What a child needs of our environment: whatever the shell says of accounts is for others."""
    needed = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in needed if name in os.environ} | {"NO_PROXY": "*", "no_proxy": "*"}


def plain(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts under keys that are texts, and no members of an enumeration."""
    return {str(kind): count for kind, count in counts.items()}


def _either(moment: Moment, before: CrashPoint, after: CrashPoint) -> CrashPoint:
    return before if moment is Moment.ASKED else after


def _cart_in(body: bytes) -> str:
    """The cart that a queue message is about, an outcome or a copy of a request; nonsense where it tells none."""
    found = _TEXT.search(body)
    try:
        message: dict[str, Any] = json.loads(base64.b64decode(found[1] if found else b""))
    except ValueError:
        return ""
    data = message.get("data", {})
    return str(message.get("subject") or message.get("cartId") or data.get("cartId")).rpartition("/")[2]
