"""Serves the stub until it is terminated.

    python -m bench.stub [--certificate FILE]

The first line of output is a JSON object with the port of each service. With a certificate (and its key in the same
file) queue, blob and service speak TLS, as in Azure. Tokens and controls have a plain port of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from bench.stub.server import Stub


async def _serve(certificate: Path | None) -> None:
    print(json.dumps(await Stub().serve(certificate)), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(prog="python -m bench.stub")
    _parser.add_argument("--certificate", type=Path, metavar="FILE", help="a certificate and its key, in PEM")
    asyncio.run(_serve(_parser.parse_args().certificate))
