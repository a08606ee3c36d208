"""`patcher verify` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patcher.cli import main
from patcher.documents.advice import advise
from patcher.verify.report import load_report
from patcher.verify.texts import load_probe_texts
from tests.conftest import ON_CPU, Run
from tests.documents.conftest import TOO_HIGH


def test_a_failed_check_ends_with_1_a_report_and_a_card_that_says_so(patched: Path, cli: Run) -> None:
    done = cli("verify", patched, *ON_CPU, "--min-logit-sparsity", "1", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["passed"] is False
    report = load_report(patched)
    assert report is not None and not report.passed
    card = (patched / "README.md").read_text("utf-8")
    assert "**Verification failed.**" in card and "relu_sparsity" in card
    assert "How to use it" not in card


def test_a_failed_verification_never_touches_a_card_edited_by_hand_and_says_so(patched: Path, cli: Run) -> None:
    (patched / "README.md").write_text("# Mine\n")
    done = cli("verify", patched, *ON_CPU, "--min-logit-sparsity", "1")
    assert done.returncode == 1
    assert (patched / "README.md").read_text() == "# Mine\n"
    assert "edited by hand" in done.stderr


def test_own_texts_are_added_to_the_bundled_ones(patched: Path, cli: Run, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("Bergen ligger ved havet.\nTromsø ligger i nord.\n", "utf-8")
    done = cli("verify", patched, *ON_CPU, "--texts", tmp_path / "texts.txt", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["texts"] == len(load_probe_texts()) + 2


@pytest.mark.parametrize("content", ["", '{"text": "god dag"}\n\n', '{"text": 1}\n'])
def test_texts_that_cannot_be_read_are_wrong_usage(
    patched: Path, tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "texts.jsonl").write_text(content)
    assert main(["verify", str(patched), "--trust-remote-code", "--texts", str(tmp_path / "texts.jsonl")]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("Error: ") and "texts.jsonl" in error and hint.startswith("Hint: ")


def test_the_terminal_says_what_can_be_done(cli: Run, patched: Path) -> None:
    arguments = ("verify", patched, *ON_CPU, "--min-logit-sparsity", str(TOO_HIGH))
    done = cli(*arguments)
    assert done.returncode == 1, done.stderr
    advice = advise(load_report(patched), str(patched))
    assert advice is not None and "FAILED:" in done.stdout
    said = " ".join(done.stdout.split())
    for part in (advice.verdict, *advice.where, *(choice.command for choice in advice.choices)):
        assert " ".join(part.split()) in said
    assert done.stdout.index("FAILED:") < done.stdout.index(advice.verdict)
