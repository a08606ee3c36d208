"""A patched folder is verified and described again; a card that its user edited stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from patcher.constants import PAGE
from patcher.patching.record import load
from patcher.pipeline import folder as of_folder
from patcher.pipeline.folder import describe, verify_folder
from patcher.verify.report import Report, load_report
from patcher.verify.verification import hash_folder
from tests.verify.made_up import GOOD, judged
from tests.verify.running import wanted


def verified(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    """Verify a folder without running it."""
    model = load(folder)
    report = replace(judged(GOOD), files=hash_folder(folder))
    monkeypatch.setattr(of_folder, "verify", lambda *_: report)
    verify_folder(folder, wanted())
    assert model.folder == folder
    return report


def test_a_folder_that_is_verified_again_gets_its_report_its_card_and_its_page(
    patched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = verified(patched, monkeypatch)
    assert load_report(patched) == report
    assert "logit sparsity" in (patched / "README.md").read_text("utf-8") and (patched / PAGE).is_file()


def test_a_card_that_was_edited_is_left_alone(patched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = patched / "README.md"
    card.write_text(card.read_text("utf-8") + "mine\n", "utf-8")
    before = card.read_bytes()
    verified(patched, monkeypatch)
    assert card.read_bytes() == before and (patched / "report.json").is_file()


def test_a_page_of_an_earlier_report_goes_where_there_is_none(patched: Path) -> None:
    (patched / PAGE).write_text("old")
    assert describe(load(patched), None, patched.name) == patched / "README.md"
    assert not (patched / PAGE).exists()
