"""`patcher card` as a user runs it: a card for a report that can be trusted, or an error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from patcher.cli import main


def test_the_same_command_in_all_its_voices(verified: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """People get tables, --json one object, --quiet one line; the talk never gets into the data."""
    folder = str(verified["out"])
    assert main(["card", folder]) == 0
    human = capsys.readouterr()
    assert main(["card", folder, "--json"]) == 0
    as_json = capsys.readouterr()
    assert main(["card", folder, "--quiet"]) == 0
    quiet = capsys.readouterr()
    assert human.out == f"Wrote {folder}/README.md\n"
    assert json.loads(as_json.out)["path"] == f"{folder}/README.md"
    assert quiet.out == f"{folder}/README.md\n" and quiet.err == ""


def test_a_damaged_report_is_told(patched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (patched / "report.json").write_text("{")
    assert main(["card", str(patched)]) == 3
    assert "can't be read as a report" in capsys.readouterr().err


def test_a_report_whose_verdict_contradicts_its_checks_is_refused(patched_verified: Path) -> None:
    path = patched_verified / "report.json"
    data = json.loads(path.read_text())
    data["checks"][0]["passed"] = False
    path.write_text(json.dumps(data))
    assert main(["card", str(patched_verified)]) == 3


def test_a_report_with_an_edited_figure_is_refused(patched_verified: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = patched_verified / "report.json"
    path.write_text(path.read_text().replace('"logit_sparsity": 0.9', '"logit_sparsity": 0.99', 1))
    assert main(["card", str(patched_verified)]) == 3
    assert "can't be read as a report" in capsys.readouterr().err


@pytest.fixture
def patched_verified(verified: dict[str, Any], tmp_path: Path) -> Path:
    return shutil.copytree(verified["out"], tmp_path / "norbert4-mini-splade")
