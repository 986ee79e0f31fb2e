"""The import rules: the core is pure, the message path imports no adapter, the program imports no development code."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "shared").rglob("*.py")
    if path.stem != "__init__"
)
CORE = [module for module in PROGRAM if module.startswith("shared.core.")]
ADAPTERS = [module for module in PROGRAM if module.startswith("shared.adapters.")]
MESSAGE_PATH = [module for module in PROGRAM if module not in (*CORE, *ADAPTERS, "shared.bootstrap")]
OUTSIDE = {"azure", "requests", "urllib3", "http"}
NEVER_IN_CORE = OUTSIDE | {"asyncio", "subprocess", "opentelemetry", "logging"}
NEVER_IN_THE_PROGRAM = {"cli", "local", "bench", "tests"}
LIST_LOADED = "print(*{name.partition('.')[0] for name in sys.modules})"


def loaded_by(module: str) -> set[str]:
    """The top-level packages that importing a module of the program brings into a fresh interpreter."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module}; {LIST_LOADED}"
    done = subprocess.run(  # noqa: S603  our own interpreter
        [sys.executable, "-I", "-c", program], capture_output=True, check=True, text=True, timeout=60
    )
    return set(done.stdout.split())


def source_of(module: str) -> ast.Module:
    return ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8"))


def imported_by(module: str) -> set[str]:
    """The modules that a module of the program names in its imports, wherever they stand in it."""
    names: set[str] = set()
    for node in ast.walk(source_of(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "the program imports by full names"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("module", CORE)
def test_the_core_loads_no_module_with_io(module: str) -> None:
    assert set() == loaded_by(module) & NEVER_IN_CORE


@pytest.mark.parametrize("module", CORE)
def test_the_core_imports_nothing_of_the_program_but_the_core(module: str) -> None:
    ours = {name for name in imported_by(module) if name.startswith("shared.")}
    assert set() == {name for name in ours if not name.startswith("shared.core")}


@pytest.mark.parametrize("module", CORE)
def test_the_core_uses_neither_the_clock_nor_a_random_source_nor_the_disk(module: str) -> None:
    called = {ast.unparse(node.func) for node in ast.walk(source_of(module)) if isinstance(node, ast.Call)}
    impure = {"open", "print", "input", "datetime.now", "datetime.utcnow", "uuid.uuid4", "uuid.uuid1", "os.getenv"}
    assert set() == called & impure
    assert set() == imported_by(module) & {"os", "io", "random", "secrets", "socket", "time", "pathlib"}


@pytest.mark.parametrize("module", MESSAGE_PATH)
def test_the_message_path_imports_no_adapter(module: str) -> None:
    assert set() == {name for name in imported_by(module) if name.startswith("shared.adapters")}


@pytest.mark.parametrize("module", MESSAGE_PATH)
def test_the_message_path_is_imported_without_an_sdk(module: str) -> None:
    assert set() == loaded_by(module) & {"azure", "requests", "urllib3"}


@pytest.mark.parametrize("module", PROGRAM)
def test_the_program_imports_no_development_code(module: str) -> None:
    assert set() == {name.partition(".")[0] for name in imported_by(module)} & NEVER_IN_THE_PROGRAM


def test_the_whole_program_loads_no_development_code() -> None:
    assert set() == loaded_by("shared.bootstrap") & NEVER_IN_THE_PROGRAM
