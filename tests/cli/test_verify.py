"""`patcher verify` as a user runs it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from patcher.cli import main
from patcher.documents.advice import advise
from patcher.verify.report import load_report
from patcher.verify.texts import load_probe_texts
from tests.conftest import MINI, ON_CPU, Run
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


HONEST = """
import platform, socket, subprocess
try:
    subprocess.check_output(["nvidia-smi"])
except Exception:
    pass
platform.platform(), socket.getfqdn()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems find out their name in other ways")
def test_honest_code_that_tries_what_it_may_not_passes_and_the_report_says_what_it_was(
    mini: Path, cli: Run, tmp_path: Path
) -> None:
    code = mini / "modeling_gptbert.py"
    code.write_text(code.read_text().replace("import math\n", f"import math\n{HONEST}", 1))
    arguments = ("--out", tmp_path / "out", *ON_CPU, "--sandbox", "hook")
    done = cli("patch", mini, *arguments)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["passed"] and report["environment"]["sandbox"] == "hook"
    assert "start a process (subprocess.Popen: 'nvidia-smi')" in report["environment"]["denied"]
    said = "The model's code tried to start a process (subprocess.Popen: 'nvidia-smi'), which was denied."
    assert said in done.stderr
    assert "under an audit hook alone" in (tmp_path / "out" / "README.md").read_text()


def test_a_sandbox_that_does_not_run_here_is_wrong_usage_and_nothing_runs(
    patched: Path, cli: Run, tmp_path: Path
) -> None:
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    for command in (("verify", patched), ("patch", MINI, "--out", tmp_path / "out")):
        arguments = (*command, *ON_CPU, "--sandbox", "bubblewrap")
        done = cli(*arguments, PATH=f"{tmp_path}:{os.environ['PATH']}")
        assert done.returncode == 2, done.stderr
        assert "bubblewrap does not run here: bwrap: No permissions to create new namespace." in done.stderr
        assert "Allow user namespaces here" in done.stderr
    assert not (tmp_path / "out").exists()


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
