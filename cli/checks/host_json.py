"""The doctor's check of host.json, of the app settings that override it, and of the number of threads it requires."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from cli.checks import Finding
from shared.core.jsontext import printable
from shared.core.retry import DEATHS_BEFORE_POISON
from shared.host_json import HOST_JSON, QueueOptions, queue_options

THREADS = "PYTHON_THREADPOOL_THREAD_COUNT"
_WHERE = "in host.json, and in no app setting AzureFunctionsJobHost__extensions__queues__…"


def check_host_json(values: Mapping[str, str], file: Path | None) -> Iterator[Finding]:
    """Check the queue options that the host uses with these app settings, and whether each message has a thread."""
    path = file or HOST_JSON
    try:
        path.stat()  # the host does without a file, but its defaults lose messages
        options = queue_options(path, values)
    except OSError as error:
        todo = (
            "Name the deployed one with --host-json FILE, or use --skip host: an installed command has none beside it."
        )
        yield Finding("host.json", "failed", f"{path} cannot be read: {error.strerror}", todo)
        return
    except ValueError as error:
        yield Finding(
            "host.json",
            "failed",
            f"{path}, or an app setting AzureFunctionsJobHost__… that overrides it: {printable(str(error), 200)}",
            "Correct it, or deploy the project's own host.json: the host does not start with a wrong one.",
        )
        return
    yield _check_threads(values.get(THREADS, "").strip(), options)
    yield from _check_options(options)


def _check_options(options: QueueOptions) -> Iterator[Finding]:
    if options.message_encoding != "none":
        yield Finding(
            "host.encoding",
            "failed",
            f"messageEncoding is {options.message_encoding}"
            f"{', by default' if 'messageEncoding' in options.defaults else ''}",
            f'Set it to "none" {_WHERE}: otherwise a message in plain JSON goes to the poison queue unread.',
        )
    if options.visibility_timeout == 0:
        yield Finding(
            "host.visibility",
            "failed",
            "visibilityTimeout is 0: a message whose function raises uses up its five deliveries within a second",
            f'Set it to "00:00:30" {_WHERE}.',
        )
    if options.max_dequeue_count != DEATHS_BEFORE_POISON:
        yield Finding(
            "host.dequeues",
            "warning",
            f"maxDequeueCount is {options.max_dequeue_count}, and the program counts on {DEATHS_BEFORE_POISON}",
            f"Set it to {DEATHS_BEFORE_POISON} {_WHERE}.",
        )


def _check_threads(given: str, options: QueueOptions) -> Finding:
    if options.dynamic_concurrency:
        return Finding(
            "host.threads",
            "failed",
            "concurrency.dynamicConcurrencyEnabled: the host ignores batchSize and newBatchThreshold, and hands over "
            "more messages than there are threads, where they end fast",
            "Remove it: a message without a thread waits, leased, until another one is done.",
        )
    concurrent = options.in_flight
    found = f"host.json hands over {concurrent} messages at once"
    if "newBatchThreshold" in options.defaults:
        found += " on a machine with as many cores as this one, since newBatchThreshold is not set"
    todo = f"Set {THREADS} to {concurrent}: a message without a thread waits, leased, until another one is done."
    if not given:
        found = f"{found}; the worker's default is min(32, cores + 4)"
        return Finding("host.threads", "failed", found, todo)
    if not given.isascii() or not given.isdigit() or int(given) < concurrent:
        return Finding("host.threads", "failed", f"{found}, and there are {printable(given, 20)} threads", todo)
    return Finding("host.threads", "ok", f"{given} threads, and {found}")
