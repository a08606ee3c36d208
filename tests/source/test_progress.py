"""A download is told in log records, and nothing of it is drawn."""

from __future__ import annotations

import pytest

from patcher.source.progress import LEVEL, progress_class


def test_bytes_on_disk_are_logged_and_nothing_is_drawn(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(LEVEL, "patcher")
    with progress_class()(desc="Reconstructing", total=0, unit="B", mininterval=0) as bar:
        bar.total = 20
        bar.refresh()
        bar.update(20)
    with progress_class()(desc="Downloading bytes", total=20, unit="B", mininterval=0) as other:
        other.update(20)
    with progress_class()(desc="Fetching 3 files", total=3, mininterval=0) as files:
        files.update(3)
    told = [record.progress for record in caplog.records if record.name == "patcher.source.progress"]
    assert told[0] == ("download", 0, 20, "B") and {*told[1:]} == {("download", 20, 20, "B")}
    assert {record.levelno for record in caplog.records if hasattr(record, "progress")} == {LEVEL}
    assert capfd.readouterr() == ("", "")
