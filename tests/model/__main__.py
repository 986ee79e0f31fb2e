"""`make model`: every history of two and three messages in every service, and every mutant.

Prints how many states were visited; a bad history is printed step by step. With ARGS: the services to play.
"""

import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from time import process_time

from tests.model.explorer import Result, explore
from tests.model.mutants import MUTANTS
from tests.model.rules import Rules
from tests.model.services import ALL, NOT_ATOMIC, Service
from tests.model.story import Story

TWO = (("AA", 1), ("AB", 1), ("AA", 2), ("AB", 2))
THREE = (("AAB", 0), ("ABC", 0), ("AAB", 1))
LONGEST_THREE = frozenset({"documented", "strict", "remembering", "stale"})
"""Where three messages and a fault are played too: elsewhere there are millions of states."""

Row = tuple[Service, str, int]


def main() -> int:
    """Explore, a row or a mutant in each process; 1 where anything is wrong."""
    chosen = [service for service in ALL if service.name in (sys.argv[1:] or [each.name for each in ALL])]
    failed = states = 0
    with ProcessPoolExecutor() as pool:
        rows, mutants = pool.map(_play, _rows(chosen)), pool.map(_find, range(len(MUTANTS)))
        for what, found in rows:
            _show(what, found, found.wrong or "sound")
            failed += bool(found.wrong)
            states += found.states
        for what, found in mutants:
            _show(what, found, found.wrong or "NOT FOUND")
            failed += not found.wrong
    _show("A service that is not atomic per key, which it must be", explore(Story(Rules(), NOT_ATOMIC), "AA", 1), "")
    _say(f"{states:,} states, {len(MUTANTS)} mutants: {failed or 'nothing'} wrong")
    return int(failed > 0)


def _rows(services: list[Service]) -> Iterator[Row]:
    """The largest first, so that no process is left alone with one at the end."""
    three = [
        (service, names, faults)
        for names, faults in THREE
        for service in services
        if faults == 0 or service.name in LONGEST_THREE
    ]
    yield from reversed(three)
    yield from ((service, names, faults) for service in services for names, faults in TWO)


def _play(row: Row) -> tuple[str, Result]:
    """One service; from every state of two messages and one fault it is played on to the end too."""
    service, names, faults = row
    began = process_time()
    live = len(names) == 2 and faults == 1
    found = explore(Story(Rules(), service), names, faults, live=live)
    ended = ", each played to its end" if live else ""
    return f"{service.name}, messages {names}, faults {faults}{ended}, {process_time() - began:.0f} s", found


def _find(number: int) -> tuple[str, Result]:
    return f"mutant: {MUTANTS[number].name}", MUTANTS[number].explored()


def _show(what: str, found: Result, judged: str) -> None:
    _say(f"{what}: {found.states:,} states: {judged or found.wrong}")
    for label in found.history:
        _say(f"    {label}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
