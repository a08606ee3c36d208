"""The tests mirror the package: the tests of patcher/a/b.py stand in tests/a/test_b.py."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.conftest import ROOT

# Modules without logic of their own: from a path below patcher to the reason why it needs no tests of its own.
WITHOUT_TESTS = {
    "cli/options.py": "aliases of Typer options; the help and the commands are tested",
    "codemods/outcomes.py": "dataclasses without methods",
    "constants.py": "names and numbers",
    "patching/messages.py": "dataclasses without methods",
    "soft_cap.py": "a dataclass without methods",
    "threshold/messages.py": "dataclasses without methods",
}
MODULES = {path.relative_to(ROOT / "patcher").as_posix(): path for path in (ROOT / "patcher").rglob("*.py")}


def mirrored(module: str) -> Path:
    """The test file of a module; that of a package's own code bears the name of the package."""
    path = Path(module)
    name = {"__init__": path.parent.name or "patcher", "__main__": "main"}.get(path.stem, path.stem)
    return ROOT / "tests" / path.parent / f"test_{name}.py"


def only_exports(path: Path) -> bool:
    """Whether an `__init__.py` defines nothing itself."""
    defines = (ast.FunctionDef, ast.ClassDef)
    return path.name == "__init__.py" and not any(isinstance(one, defines) for one in ast.parse(path.read_bytes()).body)


def test_every_module_has_its_test_file() -> None:
    required = [module for module, path in sorted(MODULES.items()) if not only_exports(path)]
    missing = [module for module in required if not mirrored(module).is_file()]
    assert [module for module in missing if module not in WITHOUT_TESTS] == []


def test_an_exception_is_a_module_that_has_no_test_file() -> None:
    wrong = [module for module in WITHOUT_TESTS if module not in MODULES or mirrored(module).is_file()]
    assert wrong == []
