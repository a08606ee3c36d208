"""A report is read as it was written, or refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from patcher.errors import OutputError
from patcher.verify.report import load_report
from tests.verify.made_up import GOOD, judged
from tests.verify.running import two_runs


def test_a_report_with_two_devices_is_read_as_it_was_written(patched: Path, tmp_path: Path) -> None:
    report = two_runs(patched, patched, tmp_path, "float32", "bfloat16")
    report.write(patched)
    assert load_report(patched) == report
    data = json.loads((patched / "report.json").read_text())
    assert [device["environment"]["dtype"] for device in data["more_devices"]] == ["bfloat16"]
    assert set(data["more_devices"][0]) == {"environment", "checks", "before", "after", "sparse_encoder", "modes"}


def test_a_folder_without_a_report_has_none(tmp_path: Path) -> None:
    assert load_report(tmp_path) is None


def test_a_report_without_a_check_does_not_pass() -> None:
    assert judged(GOOD).passed
    assert not replace(judged(GOOD), checks=()).passed


def test_a_check_that_fails_on_two_devices_is_named_once() -> None:
    report = judged(replace(GOOD, tensors_changed=("a",)), replace(GOOD, tensors_changed=("a", "b")))
    assert [check.name for check in report.failed].count("weights_unchanged") == 1
    assert report.failed[0].value == 1, "as the first device found it"


@pytest.mark.parametrize(
    ("old", "new"), [('"passed": true', '"passed": false'), ('"texts": 0', '"texts": 9'), ('"texts"', '"words"')]
)
def test_a_report_that_was_edited_is_refused(tmp_path: Path, old: str, new: str) -> None:
    judged(GOOD).write(tmp_path)
    text = (tmp_path / "report.json").read_text()
    assert old in text
    (tmp_path / "report.json").write_text(text.replace(old, new))
    with pytest.raises(OutputError, match="can't be read as a report") as caught:
        load_report(tmp_path)
    assert "patcher verify" in caught.value.hint


def test_the_layout_of_the_file_is_not_sealed(tmp_path: Path) -> None:
    report = judged(GOOD)
    report.write(tmp_path)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert load_report(tmp_path) == report
