"""The tools over the published schemas and the recorded events, as a table.

python -m tests.contract.generators              print the table
python -m tests.contract.generators folder       and keep what the tools wrote
python -m tests.contract.generators --install    only install them, into .local/generators
"""

import logging
import sys
import tempfile
from pathlib import Path

from tests.contract.generators import GENERATORS, GeneratorsUnavailable, Row, check, versions
from tests.contract.recorded import recorded


def _line(tool: str, row: Row) -> str:
    seen = [f"{count} {name}" for name in ("schemas", "examples", "events") if (count := row.get(name))]
    seen += [f"{len(row[name])} {name}" for name in ("types", "classes") if name in row]
    found = f"{len(row['faults'])} faults, first: {row['faults'][0]}" if row["faults"] else "no fault"
    made_up = row.get("timeMadeUpFor") or row.get("hiddenGlobals")
    return f"| {tool} | {', '.join(seen)} | {found}{f'; {made_up}' if made_up else ''} | {row['seconds']:.1f} s |"


def main(arguments: list[str]) -> None:
    """Install the tools, run them, and print what they say."""
    GENERATORS.install()
    if arguments == ["--install"]:
        print(f"The generators are in {GENERATORS.folder}")  # noqa: T201  for a terminal
        return
    logging.disable()  # the program's log lines, while it makes the events
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(*arguments) if arguments else Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        found = check(recorded(), folder)
    pinned = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [pinned, "", "| tool | over | result | time |", "|---|---|---|---|"]
    print("\n".join(lines + [_line(*row) for row in found.items()]))  # noqa: T201  for a terminal


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except GeneratorsUnavailable as error:
        sys.exit(str(error))
