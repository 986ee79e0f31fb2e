"""The queue options that the Functions host uses: those of host.json, app settings that override them, its defaults.

The names have no case. An app setting `AzureFunctionsJobHost__extensions__queues__batchSize` overrides the file, where
`:` may stand for `__`. The host reads the file from the folder of the app, and does without one. Sources:
HostJsonFileConfigurationSource of the Functions host, QueuesOptions of its Storage extension.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from shared.json_files import read_json
from shared.setting_reader import configuration_key

HOST_JSON = Path(__file__).parent.parent / "host.json"
MOST_BATCH = 32
"""The queue service hands over no more at once."""

_OVERRIDE = "azurefunctionsjobhost:"
_QUEUES = "extensions:queues:"
_DYNAMIC = "concurrency:dynamicconcurrencyenabled"
_BATCH, _POLLING = 16, 60.0
_DEQUEUES = 5
_TIMESPAN = re.compile(r"(?:(\d+)[.:](?=\d+:\d+:))?(\d{1,2}):(\d{1,2})(?::(\d{1,2}(?:\.\d{1,7})?))?|(\d+)", re.ASCII)
_SHORTEST_POLLING = 0.1


class QueueOptions(msgspec.Struct, frozen=True):
    """`extensions.queues`, and whether `concurrency` replaces two of them. Times are seconds.

    `defaults`: the members that are nowhere set, by the names that host.json gives them.
    """

    batch_size: int = _BATCH
    new_batch_threshold: int = _BATCH // 2
    max_dequeue_count: int = _DEQUEUES
    visibility_timeout: float = 0.0
    max_polling_interval: float = _POLLING
    message_encoding: str = "base64"
    dynamic_concurrency: bool = False
    defaults: frozenset[str] = frozenset()

    @property
    def in_flight(self) -> int:
        """How many messages of one queue an instance handles at once, unless the concurrency is dynamic."""
        return self.batch_size + self.new_batch_threshold


def queue_options(
    path: Path = HOST_JSON, environ: Mapping[str, str] | None = None, cores: int | None = None
) -> QueueOptions:
    """The options that apply to an app with this host.json and these app settings.

    `cores`: those of the instance, on which the default of newBatchThreshold depends. By default this machine's.

    Raises:
        ValueError: the host would not start with them, or the file cannot be parsed. The text says which and why.
        OSError: there is a file, and it cannot be read.
    """
    read = _Reader(_effective(path, os.environ if environ is None else environ))
    batch = read.number("batchSize", _BATCH, least=1, most=MOST_BATCH)
    threshold = (batch // 2) * (cores or os.cpu_count() or 1)
    return QueueOptions(
        batch_size=batch,
        new_batch_threshold=read.number("newBatchThreshold", threshold, least=0),
        max_dequeue_count=read.number("maxDequeueCount", _DEQUEUES, least=1),
        visibility_timeout=read.seconds("visibilityTimeout", 0.0),
        max_polling_interval=read.seconds("maxPollingInterval", _POLLING, least=_SHORTEST_POLLING),
        message_encoding=read.encoding(),
        dynamic_concurrency=read.values.get(_DYNAMIC, "").strip().lower() == "true",
        defaults=frozenset(read.absent),
    )


def _effective(path: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Every value of host.json by its path in lower case, with `:` between the names, and what overrides it."""
    values: dict[str, str] = {}
    with suppress(FileNotFoundError):
        document = read_json(path)
        if not isinstance(document, dict):
            raise ValueError(f"{path.name} is not an object")  # noqa: TRY004  it is the file's value that is wrong
        values.update(_flat(document))
    for name, value in environ.items():
        key = configuration_key(name)
        if key.startswith(_OVERRIDE):
            values[key.removeprefix(_OVERRIDE)] = value
    return values


def _flat(document: dict[str, Any], parent: str = "") -> Iterator[tuple[str, str]]:
    for name, value in document.items():
        key = f"{parent}{name.lower()}"
        if isinstance(value, dict):
            yield from _flat(value, f"{key}:")
        elif not isinstance(value, list):
            yield key, "" if value is None else str(value)


class _Reader:
    """Reads `extensions.queues`, and notes what is absent."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values
        self.absent: list[str] = []

    def _get(self, name: str) -> str | None:
        value = self.values.get(f"{_QUEUES}{name.lower()}")
        if value is None:
            self.absent.append(name)
        return value

    def number(self, name: str, default: int, *, least: int, most: int | None = None) -> int:
        value = self._get(name)
        if value is None:
            return default
        with suppress(ValueError):
            number = int(value)
            if number >= least and (most is None or number <= most):
                return number
        bounds = f"of {least} or more" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} is {value!r}, and must be a number {bounds}")

    def seconds(self, name: str, default: float, *, least: float = 0.0) -> float:
        value = self._get(name)
        if value is None:
            return default
        match = _TIMESPAN.fullmatch(value.strip())
        if match is None:
            raise ValueError(f"{name} is {value!r}, and must be hh:mm:ss")
        days, hours, minutes, seconds, only_days = match.groups(default="0")
        time = (int(days) + int(only_days)) * 86400 + int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        if time < least:
            raise ValueError(f"{name} is {value!r}, and must be at least {least:g} s")
        return time

    def encoding(self) -> str:
        value = self._get("messageEncoding")
        if value is None:
            return "base64"
        names = {"none": "none", "0": "none", "base64": "base64", "1": "base64"}
        if value.strip().lower() not in names:
            raise ValueError(f"messageEncoding is {value!r}, and must be none or base64")
        return names[value.strip().lower()]
