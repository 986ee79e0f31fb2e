"""The README's pictures: they are there, light, and fetch nothing. `python -m scripts.pictures` takes them anew."""

import re
from xml.etree import ElementTree as ET

import pytest

from local.demo.rows import INVALID_ROWS, ROWS
from scripts import pictures, terminal

README = terminal.ROOT / "README.md"
NAMES = ("demo", "watch", "status")
NAMESPACE = "http://www.w3.org/2000/svg"


def source(name: str) -> str:
    return (pictures.FOLDER / f"{name}.svg").read_text(encoding="utf-8")


def words(name: str) -> str:
    """What is to be read in a picture."""
    texts = ET.fromstring(source(name)).iter(f"{{{NAMESPACE}}}text")  # noqa: S314  our own file
    return "\n".join(text.text or "" for text in texts).replace("\N{NO-BREAK SPACE}", " ")


def seen(printed: str, columns: int = 20) -> list[str]:
    return [line.plain for line in terminal.screen(printed, columns)]


def test_there_are_these_and_no_others() -> None:
    assert {f"{name}.svg" for name in NAMES} == {path.name for path in pictures.FOLDER.iterdir()}


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_a_light_svg(name: str) -> None:
    assert f"{{{NAMESPACE}}}svg" == ET.fromstring(source(name)).tag  # noqa: S314  our own file
    assert len(source(name).encode()) < pictures.LARGEST


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_fetches_and_runs_nothing(name: str) -> None:
    text = source(name).replace(f'xmlns="{NAMESPACE}"', "")

    assert [] == re.findall(r"//|@import|@font-face|url\(|href|src=|<script|<image|<foreignObject|\bon\w+=", text)


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_shows_a_picture_and_says_what_is_on_it(name: str) -> None:
    (text,) = re.findall(rf"!\[([^\]]*)\]\(docs/pictures/{name}\.svg\)", README.read_text(encoding="utf-8"))

    assert len(text) > 40


def test_the_demo_is_todays_and_passes() -> None:
    assert f"PASS {len(ROWS) + len(INVALID_ROWS)} requests" in words("demo"), "run python -m scripts.pictures"


@pytest.mark.parametrize("outcome", ["completed", "action_required", "partial", "failed", "unknown"])
def test_every_outcome_is_on_every_picture(outcome: str) -> None:
    assert [] == [name for name in NAMES if outcome not in words(name)]


def test_what_was_erased_is_not_seen() -> None:
    once, twice = "\r\x1b[2K\x1b[1A\x1b[2K", "\r\x1b[1A\x1b[2K\x1b[1A\x1b[2K"

    assert ["ready", "2 of 2", "done"] == seen(f"ready\r\n\x1b[?25l0 of 2\r\n1 of 2{once}2 of 2\r\n\x1b[?25hdone\r\n")
    assert ["ready", "done"] == seen(f"ready\r\n0 of 2\r\n1 of 2\r\n{twice}done\r\n")


def test_colours_are_kept_and_long_lines_are_folded_as_a_terminal_does() -> None:
    first, second = terminal.screen("\x1b[31mred\x1b[0m and 8 more\r\n\r\n", 8)

    assert ["red and ", "8 more"] == [first.plain, second.plain]
    assert ["color(1)"] == [str(span.style) for span in first.spans if span.end == 3]


@pytest.mark.parametrize("printed", ["over\rdrawn", "\x1b[2J", "\x1b]0;title\x07", "up\x1b[1A"])
def test_what_it_does_not_know_is_refused(printed: str) -> None:
    with pytest.raises(ValueError, match="not known to be printed"):
        seen(printed)
