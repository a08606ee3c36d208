"""The script as a file that travels alone: its requirements are in it, and its neighbours come from the package."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, user_environment

if sys.version_info >= (3, 11):
    import tomllib
else:  # the same parser, under its former name
    import tomli as tomllib

SCRIPT = ROOT / "templates" / "train_splade.py"


def test_its_first_lines_name_this_package_and_its_extra() -> None:
    """PEP 723: `uv run` and `hf jobs uv run` install what stands there."""
    [block] = re.findall(r"(?m)^# /// script\n((?:# .*\n)+)# ///$", SCRIPT.read_text("utf-8"))
    metadata = tomllib.loads("".join(line.removeprefix("# ") for line in block.splitlines(keepends=True)))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert metadata["dependencies"] == [f"{project['name']}[train]"]
    assert "train" in project["optional-dependencies"]
    assert metadata["requires-python"] == project["requires-python"]


def test_alone_in_a_folder_it_finds_its_neighbours_and_the_configurations(tmp_path: Path) -> None:
    alone = shutil.copy(SCRIPT, tmp_path / "train_splade.py")
    refused = ["norbert4-base", "--model.base_model=3"]
    done = subprocess.run(
        [sys.executable, str(alone), *refused],
        env=user_environment(tmp_path) | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "model.base_model is 3, which is not a string." in done.stderr
