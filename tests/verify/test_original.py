"""Another environment has to exist and to have transformers 4; that it agrees is shown in tests/compatibility."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from patcher.errors import UsageError
from patcher.patching.record import load
from patcher.verify.original import run_original
from tests.verify.running import wanted


def refused(folder: Path, python: Path, target: Path) -> str:
    with pytest.raises(UsageError) as caught:
        run_original(load(folder), wanted(reference=python), target)
    assert "Pass the path" in caught.value.hint or "transformers==4" in caught.value.hint
    assert not target.exists()
    return caught.value.message


def test_nothing_runs_where_no_reference_was_asked_for(patched_once: Path, tmp_path: Path) -> None:
    assert run_original(load(patched_once), wanted(), tmp_path / "out") is None and not (tmp_path / "out").exists()


def test_what_is_no_interpreter_is_told(patched_once: Path, tmp_path: Path) -> None:
    assert "no interpreter" in refused(patched_once, tmp_path / "python", tmp_path / "out")
    (tmp_path / "python").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "python").chmod(0o755)
    assert "does not run as a Python" in refused(patched_once, tmp_path / "python", tmp_path / "out")


def test_an_interpreter_with_transformers_5_is_refused(patched_once: Path, tmp_path: Path) -> None:
    assert "has transformers 5" in refused(patched_once, Path(sys.executable), tmp_path / "out")


def test_it_imports_the_packages_of_its_own_environment(
    patched_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are stand-ins here; this environment's, which a user may have put on PYTHONPATH, are not looked at."""
    place = tmp_path / "other"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "safetensors").mkdir()
    (packages / "safetensors" / "torch.py").write_text("save_file = None")
    (packages / "torch.py").write_text("")
    (packages / "transformers.py").write_text("__version__ = '5.of-its-own'")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([sysconfig.get_paths()["purelib"], os.getcwd()]))
    assert "has transformers 5.of-its-own" in refused(patched_once, place / "bin" / "python", tmp_path / "out")
