"""The command line: what goes to stdout and stderr, in each mode, and the exit codes."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.utils import _http
from huggingface_hub.utils.logging import get_verbosity
from huggingface_hub.utils.tqdm import are_progress_bars_disabled

from patcher.cli import main
from tests.conftest import MINI, ROOT


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["patch", str(MINI)],
        ["patch", str(MINI), "--out", "x", "--device", "tpu"],
        ["patch", str(MINI), "--out", "x", "--min-logit-sparsity", "98"],
        ["patch", str(MINI), "--out", "x", "--code-only"],
        ["plan", "no such thing"],
        ["verify"],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    assert main(arguments) == 2


@pytest.mark.parametrize("command", ["verify", "card"])
def test_a_folder_that_is_none_of_ours_is_told_in_two_lines(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(tmp_path)]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("Error: ") and hint.startswith("Hint: ")


def test_a_traceback_is_shown_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for value, shown in (("", False), ("1", True)):
        monkeypatch.setenv("HF_DEBUG", value)
        assert main(["card", str(tmp_path)]) == 1
        assert ("Traceback" in capsys.readouterr().err) is shown


def test_what_nobody_foresaw_is_told_in_two_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unforeseen(*_: Any) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("patcher.source.snapshot.resolve", unforeseen)
    assert main(["plan", str(MINI)]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert "RuntimeError: unforeseen" in error and "HF_DEBUG=1" in hint


def process_state() -> dict[str, Any]:
    logger = logging.getLogger("patcher")
    return {
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "streams": [(id(stream), stream.errors) for stream in (sys.stdout, sys.stderr)],
        "logging": (list(logger.handlers), logger.level),
        "client": (_http._GLOBAL_CLIENT_FACTORY, get_verbosity(), are_progress_bars_disabled()),
    }


@pytest.mark.parametrize("mode", [(), ("--json",), ("--quiet",)])
def test_main_as_a_function_leaves_the_process_as_it_was(mode: tuple[str, ...], patched: Path) -> None:
    before = process_state()
    for words, code in (
        (["plan", str(MINI)], 0),
        (["card", str(patched)], 0),
        (["card", str(MINI)], 1),
        (["verify", str(patched)], 1),
        (["check", "no such name"], 2),
        (["frobnicate"], 2),
    ):
        assert main([*words, *mode]) == code, words
        assert process_state() == before, words


def test_ctrl_c_in_main_as_a_function_ends_the_command_and_the_next_one_the_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("patcher.source.snapshot.resolve", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        assert main(["plan", str(MINI)]) == 130
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_command_line_is_imported_without_what_it_needs_later() -> None:
    code = (
        "import sys, patcher, patcher.cli\n"
        "print({'torch', 'transformers', 'libcst', 'huggingface_hub', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
