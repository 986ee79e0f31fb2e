"""The doctor's check of host.json, and of the number of threads that it requires."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from cli.checks import Finding
from shared.bootstrap import HOST_JSON
from shared.core.jsontext import printable
from shared.settings import in_flight

THREADS = "PYTHON_THREADPOOL_THREAD_COUNT"


def check_host_json(values: Mapping[str, str], file: Path | None) -> Iterator[Finding]:
    """Check the queue settings of host.json, and whether there is a thread for each message it hands over."""
    path = file or HOST_JSON
    try:
        concurrent = in_flight(path)
        queues = json.loads(path.read_text(encoding="utf-8"))["extensions"]["queues"]
    except OSError as error:
        todo = (
            "Name the deployed one with --host-json FILE, or use --skip host: an installed command has none beside it."
        )
        yield Finding("host.json", "failed", f"{path} cannot be read: {error.strerror}", todo)
        return
    except (ValueError, KeyError, TypeError, AttributeError):
        yield Finding(
            "host.json",
            "failed",
            f"{path} has no extensions.queues with batchSize and newBatchThreshold",
            "Deploy the project's own host.json: the host's defaults lose messages of this app.",
        )
        return
    yield _check_threads(values.get(THREADS, "").strip(), concurrent)
    if queues.get("messageEncoding") != "none":
        yield Finding(
            "host.encoding",
            "failed",
            f"messageEncoding is {queues.get('messageEncoding', 'base64, by default')}",
            'Set it to "none": otherwise a message in plain JSON goes to the poison queue unread.',
        )
    if queues.get("visibilityTimeout", "00:00:00") == "00:00:00":
        yield Finding(
            "host.visibility",
            "failed",
            "visibilityTimeout is 0: a message whose function raises uses up its five deliveries within a second",
            'Set it to "00:00:30".',
        )


def _check_threads(given: str, concurrent: int) -> Finding:
    found = f"host.json hands over {concurrent} messages at once"
    todo = f"Set {THREADS} to {concurrent}: a message without a thread waits, leased, until another one is done."
    if not given:
        found = f"{found}; the worker's default is min(32, cores + 4)"
        return Finding("host.threads", "failed", found, todo)
    if not given.isascii() or not given.isdigit() or int(given) < concurrent:
        return Finding("host.threads", "failed", f"{found}, and there are {printable(given, 20)} threads", todo)
    return Finding("host.threads", "ok", f"{given} threads, and host.json hands over {concurrent} messages at once")
