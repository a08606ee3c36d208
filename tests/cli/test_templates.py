"""`patcher templates`: what a user without a checkout needs to train."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from patcher.cli import main
from tests.conftest import ROOT

WITHOUT = """
import importlib.util, runpy, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in {"datasets", "accelerate"} else find(name, *rest)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_every_template_is_written_once_and_nothing_of_the_user_is_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine"
    assert main(["templates", str(out), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)["files"]
    bundled = [path for path in (ROOT / "templates").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert written == sorted(path.relative_to(ROOT / "templates").as_posix() for path in bundled)
    assert (out / "configs" / "norbert4-base.yaml").read_bytes() == (
        ROOT / "templates" / "configs" / "norbert4-base.yaml"
    ).read_bytes()
    assert main(["templates", str(out)]) == 0, "the same again changes nothing"
    assert capsys.readouterr().err == f"next: python {out / 'train_splade.py'} {out / 'training_config.yaml'}\n"
    (out / "training_config.yaml").write_text("mine")
    assert main(["templates", str(out)]) == 3
    assert "training_config.yaml was edited" in capsys.readouterr().err
    assert (out / "training_config.yaml").read_text() == "mine"


def test_a_file_is_no_folder_for_templates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert main(["templates", str(tmp_path / "file")]) == 3
    assert f"Error: {tmp_path / 'file'} is a file, not a folder; nothing was written." in capsys.readouterr().err


def test_a_training_without_its_packages_ends_in_one_line_that_names_them(tmp_path: Path) -> None:
    assert main(["templates", str(tmp_path), "--quiet"]) == 0
    command = [sys.executable, "-c", WITHOUT, str(tmp_path / "train_splade.py"), str(tmp_path / "training_config.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3 and "Traceback" not in done.stderr
    assert done.stderr.splitlines() == [
        "Error: Training needs accelerate, datasets, which this Python does not have.",
        "Hint: pip install accelerate datasets",
    ]
