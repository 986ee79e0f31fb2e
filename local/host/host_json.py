"""The settings of host.json that apply to queue triggers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """`extensions.queues`, with the real host's defaults for one core. Times are in seconds."""

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5
    visibility_timeout: float = 0.0
    max_polling_interval: float = 60.0

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read host.json.

        Raises:
            ValueError: A value is not supported by the local host.
            OSError: The file cannot be read.
        """
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        queues: dict[str, Any] = document.get("extensions", {}).get("queues", {})
        # The real default is base64, which the local host does not decode.
        if (encoding := queues.get("messageEncoding", "base64")) != "none":
            raise ValueError(f'{path.name}: messageEncoding is {encoding}; the local host knows only "none"')
        batch_size = int(queues.get("batchSize", 16))
        return cls(
            batch_size=batch_size,
            new_batch_threshold=int(queues.get("newBatchThreshold", batch_size // 2)),
            max_dequeue_count=int(queues.get("maxDequeueCount", 5)),
            visibility_timeout=_seconds(queues.get("visibilityTimeout", "00:00:00")),
            max_polling_interval=_seconds(queues.get("maxPollingInterval", "00:01:00")),
        )


def _seconds(text: str) -> float:
    """Parse a .NET TimeSpan, `[d.]hh:mm:ss[.f]`, into seconds."""
    match = re.fullmatch(r"(?:(\d+)\.)?(\d\d):(\d\d):(\d\d(?:\.\d+)?)", text)
    if match is None:
        raise ValueError(f"host.json: {text!r} is not hh:mm:ss")
    days, hours, minutes, seconds = match.groups(default="0")
    return int(days) * 86400 + int(hours) * 3600 + int(minutes) * 60 + float(seconds)
