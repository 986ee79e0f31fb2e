"""Index function_app.py and invoke it through Microsoft's worker library, as the host's worker would.

Run as a program of its own, since the library keeps its registry in globals: `python invoke.py FUNCTION`, the
message's body on standard input. Prints one JSON line: what was indexed, and how the invocation ended.

The library's interface is internal; it is pinned in the requirements and used by tests alone.
"""

import json
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from azure_functions_runtime import start_threadpool_executor, stop_threadpool_executor
from azure_functions_runtime.bindings.datumdef import Datum
from azure_functions_runtime.bindings.meta import load_binding_registry
from azure_functions_runtime.handle_event import _functions
from azure_functions_runtime.loader import index_function_app, process_indexed_function
from azure_functions_runtime.native_invocation import run_invocation_sync

ROOT = Path(__file__).parent.parent.parent


class BindingInfo(SimpleNamespace):
    """The part of the host's protocol that indexing compares with: the directions and data types by number."""

    inout, out, undefined = 2, 1, 0


PROTOCOL = SimpleNamespace(BindingInfo=BindingInfo, RpcFunctionMetadata=SimpleNamespace)


def main(function: str, body: bytes) -> dict[str, Any]:
    """Index the app and deliver one message to a function of it."""
    sys.path.insert(0, str(ROOT))
    load_binding_registry()
    indexed = index_function_app(str(ROOT / "function_app.py"))
    metadata = process_indexed_function(PROTOCOL, _functions, indexed, str(ROOT))[0]
    function_id = next(found.function_id for found in metadata if found.name == function)
    now = json.dumps(datetime.now(UTC).isoformat())
    start_threadpool_executor()
    threads = threading.active_count()
    _, ok, _, _, error, trace = run_invocation_sync(
        "00000000-0000-0000-0000-000000000001",
        function_id,
        [("message", Datum(body, "bytes"))],
        {
            "Id": Datum("message-1", "string"),
            "DequeueCount": Datum("1", "json"),
            "InsertionTime": Datum(now, "json"),
            "ExpirationTime": Datum(now, "json"),
            "NextVisibleTime": Datum(now, "json"),
            "PopReceipt": Datum("receipt", "string"),
        },
    )
    stop_threadpool_executor()
    bindings = {found.name: [json.loads(raw) for raw in found.raw_bindings] for found in metadata}
    return {"bindings": bindings, "ok": ok, "error": error, "trace": trace, "threads": threads}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.stdin.buffer.read())))  # noqa: T201  its result
