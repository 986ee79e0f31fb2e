"""Deliver many messages in one worker, which takes a second for the first and milliseconds for each other.

Run as a program of its own for the reason that `invoke` gives: `python -m tests.worker.invoke_many FUNCTION`, a line
of base64 for each body on standard input. Prints one JSON line: how each invocation ended.
"""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def invoke_many(function: str, bodies: Sequence[bytes], environ: Mapping[str, str]) -> list[tuple[bool, str | None]]:
    """How each invocation ended: whether it succeeded, and its error."""
    done = subprocess.run(  # noqa: S603  this interpreter, our own file
        [sys.executable, "-m", "tests.worker.invoke_many", function],
        input=b"".join(base64.b64encode(body) + b"\n" for body in bodies),
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, **environ, "PYTHON_THREADPOOL_THREAD_COUNT": "32"},
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return [(ok, error) for ok, error in json.loads(done.stdout.splitlines()[-1])]


def main(function: str, bodies: list[bytes]) -> list[tuple[bool, str | None]]:
    """Index the app and deliver each of these to a function of it."""
    from tests.worker import invoke  # noqa: PLC0415  it needs a Python of 3.13 or newer

    with invoke.worker(function) as deliver:
        return [deliver(body)[1::3] for body in bodies]


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], [base64.b64decode(line) for line in sys.stdin])))  # noqa: T201  its result
