import ast
import subprocess
import sys
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"
PURE = ["discreet", "errors", "jsontext", "messages", "models", "outcomes", "retry", "verdict"]
PROGRAM = sorted(path.stem for path in SHARED.glob("*.py") if path.stem != "__init__")
NEVER_IN_THE_PURE_CORE = {"azure", "requests", "urllib3", "http", "asyncio", "subprocess", "opentelemetry", "logging"}
NEVER_IN_THE_PROGRAM = {"local", "tools", "bench", "tests"}
LIST_LOADED = "print(*{name.partition('.')[0] for name in sys.modules})"


def loaded_by(module: str) -> set[str]:
    """The top-level packages that importing a module of the program brings into a fresh interpreter."""
    program = f"import sys; sys.path.insert(0, {str(SHARED.parent)!r}); import shared.{module}; {LIST_LOADED}"
    done = subprocess.run(  # noqa: S603  our own interpreter
        [sys.executable, "-I", "-c", program], capture_output=True, check=True, text=True, timeout=60
    )
    return set(done.stdout.split())


def imported_by(module: str) -> set[str]:
    """The modules that a module of the program names in its imports, wherever they stand in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((SHARED / f"{module}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "the program imports by full names"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("module", PURE)
def test_the_pure_core_loads_nothing_that_talks_to_the_outside(module: str) -> None:
    assert set() == loaded_by(module) & NEVER_IN_THE_PURE_CORE


@pytest.mark.parametrize("module", PURE)
def test_the_pure_core_imports_only_itself_from_the_program(module: str) -> None:
    ours = {name.split(".")[1] for name in imported_by(module) if name.startswith("shared.")}
    assert set() == ours - set(PURE)


@pytest.mark.parametrize("module", PURE)
def test_the_pure_core_asks_neither_the_clock_nor_the_dice_nor_the_disk(module: str) -> None:
    tree = ast.parse((SHARED / f"{module}.py").read_text(encoding="utf-8"))
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    impure = {"open", "print", "input", "datetime.now", "datetime.utcnow", "uuid.uuid4", "uuid.uuid1", "os.getenv"}
    assert set() == called & impure
    assert set() == imported_by(module) & {"os", "io", "random", "secrets", "socket", "time", "pathlib"}


@pytest.mark.parametrize("module", PROGRAM)
def test_the_program_imports_nothing_that_only_helps_it(module: str) -> None:
    assert set() == {name.partition(".")[0] for name in imported_by(module)} & NEVER_IN_THE_PROGRAM


def test_the_whole_program_loads_nothing_that_only_helps_it() -> None:
    assert set() == loaded_by("bootstrap") & NEVER_IN_THE_PROGRAM
