"""What `import patcher` offers: lazily, typed, with a docstring each, and nothing else."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys

import pytest

import patcher
from tests.conftest import ROOT

HEAVY = "{'torch', 'transformers', 'libcst', 'huggingface_hub', 'matplotlib'}"


def test_importing_it_loads_no_library_and_offers_every_name() -> None:
    code = f"import sys, patcher as p\nassert {{*p.__all__}} <= {{*dir(p)}}\nsys.exit(bool({HEAVY} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("name", patcher.__all__)
def test_every_name_is_there_and_says_what_it_is(name: str) -> None:
    found = getattr(patcher, name)
    assert isinstance(found, str) or len(inspect.getdoc(found) or "") > 20


def test_type_checkers_are_told_the_same() -> None:
    stub = ast.parse((ROOT / "patcher" / "__init__.pyi").read_text())
    imports = [one for one in stub.body if isinstance(one, ast.ImportFrom)]
    told = {alias.name: str(one.module).removeprefix("patcher.") for one in imports for alias in one.names}
    assert told == patcher._OFFERED


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = patcher.nothing  # type: ignore[attr-defined]
