"""The README's pictures: all of them are shown, small, and fetch nothing. CONTRIBUTING.md says how to record them."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from local.demo.rows import INVALID_ROWS, ROWS

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
FOLDER = ROOT / "docs" / "pictures"
NAMES = ("demo", "watch", "status")
LARGEST = 100_000
SVG = "http://www.w3.org/2000/svg"


def source(name: str) -> str:
    return (FOLDER / f"{name}.svg").read_text(encoding="utf-8")


def words(name: str) -> str:
    """The text of a picture."""
    texts = ET.fromstring(source(name)).iter(f"{{{SVG}}}text")  # noqa: S314  our own file
    return "\n".join("".join(text.itertext()) for text in texts).replace("\N{NO-BREAK SPACE}", " ")


def test_the_pictures_are_the_expected_ones() -> None:
    assert {f"{name}.svg" for name in NAMES} == {path.name for path in FOLDER.iterdir()}


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_a_light_svg(name: str) -> None:
    assert f"{{{SVG}}}svg" == ET.fromstring(source(name)).tag  # noqa: S314  our own file
    assert len(source(name).encode()) < LARGEST


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_fetches_and_runs_nothing(name: str) -> None:
    fetched = r'@import|@font-face|url\(|href="[^#]|src=|<script|<image|<foreignObject|\bon\w+='

    assert [] == re.findall(fetched, source(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_shows_a_picture_and_says_what_is_on_it(name: str) -> None:
    (text,) = re.findall(rf"!\[([^\]]*)\]\(docs/pictures/{name}\.svg\)", README.read_text(encoding="utf-8"))

    assert len(text) > 40


def test_the_picture_of_the_demo_is_current_and_shows_a_pass() -> None:
    assert f"PASS {len(ROWS) + len(INVALID_ROWS)} requests" in words("demo"), "record it again: see CONTRIBUTING.md"


@pytest.mark.parametrize("outcome", ["completed", "action_required", "partial", "failed", "unknown"])
def test_every_outcome_is_on_every_picture(outcome: str) -> None:
    assert [] == [name for name in NAMES if outcome not in words(name)]
