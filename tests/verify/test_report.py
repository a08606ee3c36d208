"""A report is read as it was written, or refused."""

from __future__ import annotations

import json
from pathlib import Path

from patcher.verify.report import load_report
from tests.verify.running import two_runs


def test_a_report_with_two_devices_is_read_as_it_was_written(patched: Path, tmp_path: Path) -> None:
    report = two_runs(patched, patched, tmp_path, "float32", "bfloat16")
    report.write(patched)
    assert load_report(patched) == report
    data = json.loads((patched / "report.json").read_text())
    assert [device["environment"]["dtype"] for device in data["more_devices"]] == ["bfloat16"]
    assert set(data["more_devices"][0]) == {"environment", "checks", "before", "after", "sparse_encoder"}
