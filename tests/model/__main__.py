"""`make model`: every history of two and three messages in every service, and every mutant.

Prints how many states were visited; a bad history is printed step by step. With ARGS: the services to play.
"""

import sys
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


def main() -> int:
    """Explore; 1 where anything is wrong."""
    chosen = [service for service in ALL if service.name in (sys.argv[1:] or [each.name for each in ALL])]
    failed = sum([_play(service, names, faults) for service in chosen for names, faults in TWO])
    failed += sum(
        [
            _play(service, names, faults)
            for service in chosen
            for names, faults in THREE
            if faults == 0 or service.name in LONGEST_THREE
        ]
    )
    _say("A service that is not atomic per key, which the program must assume it is:")
    _show(explore(Story(Rules(), NOT_ATOMIC), "AA", 1))
    return int(failed + _find_mutants() > 0)


def _play(service: Service, names: str, faults: int) -> bool:
    """One service; from every state of two messages and one fault it is played on to the end too."""
    began = process_time()
    live = len(names) == 2 and faults == 1
    found = explore(Story(Rules(), service), names, faults, live=live)
    what = f"{service.name}, messages {names}, faults {faults}{', each played to its end' if live else ''}"
    _say(f"{what}: {found.states:,} states in {process_time() - began:.0f} s: {found.wrong or 'sound'}")
    _show(found)
    return bool(found.wrong)


def _find_mutants() -> int:
    missed = 0
    for mutant in MUTANTS:
        found = mutant.explored()
        missed += not found.wrong
        _say(f"{mutant.name}: {found.wrong or 'NOT FOUND'} ({found.states:,} states)")
        _show(found)
    _say(f"{len(MUTANTS) - missed} of {len(MUTANTS)} mutants found")
    return missed


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _show(found: Result) -> None:
    for label in found.history:
        _say(f"    {label}")


if __name__ == "__main__":
    sys.exit(main())
