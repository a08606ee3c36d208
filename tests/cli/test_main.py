"""The command line: what goes to stdout and stderr, in each mode, and the exit codes."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.utils import _http
from huggingface_hub.utils.logging import get_verbosity
from huggingface_hub.utils.tqdm import are_progress_bars_disabled

from patcher.cli import main
from patcher.cli.app import ORDER
from patcher.cli.console import Console
from patcher.errors import HubUnreachable
from patcher.sandbox.process import Interrupted
from tests.conftest import MINI, ROOT, Run


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["patch"],
        ["patch", str(MINI), "--format", "html"],
        ["patch", str(MINI), "--format", "human", "--json"],
        ["patch", str(MINI), "--out", "x", "--device", "tpu"],
        ["patch", str(MINI), "--out", "x", "--min-logit-sparsity", "98"],
        ["patch", str(MINI), "--out", "x", "--code-only"],
        ["plan", "no such thing"],
        ["publish", str(MINI), "ola/model", "--timeout", "inf"],
        ["verify"],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    assert main(arguments) == 2


WORDS: dict[str, list[str]] = {
    **{command: ["./nowhere"] for command in ORDER},
    "publish": ["./nowhere", "ola/model"],
    "check": ["ola/model"],
    "templates": [str(ROOT / "README.md" / "nowhere")],
    "encode": ["./nowhere", "texts.jsonl", "--to", "pgvector"],
    "search": ["./nowhere", "texts.jsonl", "Hva?"],
}


@pytest.mark.parametrize("command", ORDER)
def test_every_command_has_the_exit_codes_of_its_help(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    for line in (
        "0    passed, or done",
        "1    failed a check",
        "2    wrong usage",
        "3    could not",
        "130  interrupted",
    ):
        assert line in shown
    assert max(map(len, shown.splitlines())) <= 80 and "<" not in shown and "range" not in shown

    def told() -> list[str]:
        return [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]

    assert main([command, "--nonsense"]) == 2 and told() == ["Error", "Hint"]

    def unreachable(*_: Any, **__: Any) -> None:
        raise HubUnreachable("The Hub gave no answer.", "Check the connection.")

    monkeypatch.setattr("patcher.publish.check", unreachable)
    assert main([command, *WORDS[command]]) == 3 and told()[-2:] == ["Error", "Hint"]
    assert main([command, *WORDS[command], "--quiet"]) == 3 and told() == ["Error", "Hint"]

    def interrupted(_: object) -> None:
        raise Interrupted

    monkeypatch.setattr(Console, "listen", interrupted)
    assert main([command, *WORDS[command]]) == 130 and told() == ["Error", "Hint"]


@pytest.mark.parametrize("command", ["verify", "card"])
def test_a_folder_that_is_none_of_ours_is_told_in_two_lines(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(tmp_path)]) == 3
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("Error: ") and hint.startswith("Hint: ")


def test_a_traceback_is_shown_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for value, shown in (("", False), ("1", True)):
        monkeypatch.setenv("HF_DEBUG", value)
        assert main(["card", str(tmp_path)]) == 3
        assert ("Traceback" in capsys.readouterr().err) is shown


def test_what_nobody_foresaw_is_told_in_two_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unforeseen(*_: Any) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("patcher.source.snapshot.resolve", unforeseen)
    assert main(["plan", str(MINI)]) == 3
    error, hint = capsys.readouterr().err.splitlines()
    assert "RuntimeError: unforeseen" in error and "HF_DEBUG=1" in hint


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("interruption", [Interrupted, KeyboardInterrupt])
def test_an_interruption_that_an_error_of_a_library_replaces_is_still_one(
    interruption: type[BaseException],
    listed: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def cleans_up_badly(*_: Any) -> None:
        try:
            raise interruption
        finally:
            raise KeyError("IndentedBlock")

    for module in ("source.snapshot", "pipeline.family"):
        monkeypatch.setattr(f"patcher.{module}.resolve", cleans_up_badly)
    (tmp_path / "list.txt").write_text(f"{MINI}\n{MINI} again\n")
    words = ["patch", "--all", str(tmp_path / "list.txt"), "--out", str(tmp_path / "out"), "--no-verify"]
    assert main(words if listed else ["plan", str(MINI)]) == 130
    error, hint = capsys.readouterr().err.splitlines()[-2:]
    assert error.startswith("Error: Interrupted") and hint.startswith("Hint: ")


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
        (["card", str(MINI)], 3),
        (["verify", str(patched)], 3),
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


# What typer converts the options of a command with.
TYPERS = {"annotated_types", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection"}


@pytest.mark.parametrize("words", [["--help"], ["patch", "--help"], ["patch"], ["patch", "--nonsense"]])
def test_help_and_wrong_usage_import_nothing_but_the_command_line(words: list[str]) -> None:
    code = (
        "import sys, typer, typer.completion\n"
        "before = set(sys.modules)\n"
        "from patcher.cli import main\n"
        f"main({words})\n"
        "print(*(set(sys.modules) - before), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    names = done.stderr.splitlines()[-1].split()
    packages = {name.partition(".")[0] for name in names if not name.startswith("_")} - set(sys.stdlib_module_names)
    allowed = {"typer", *(TYPERS if "patch" in words else ())}
    assert packages - allowed == {"patcher"}, "no rich, no libcst, no client of the Hub"
    assert sum(name.startswith("patcher.") for name in names) <= 30


def test_the_shell_completes_commands(cli: Run) -> None:
    asked = {"_PATCHER_COMPLETE": "complete_bash", "COMP_WORDS": "patcher ver", "COMP_CWORD": "1"}
    assert cli(**asked).stdout.split() == ["verify"]


@pytest.mark.parametrize("command", ["", "plan"])
def test_an_option_without_its_value_is_explained_by_the_help_of_its_command(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [command, "x", "--revision"] if command else ["--frobnicate"]
    assert main(words) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"Hint: Run `{' '.join(filter(None, ('patcher', command, '--help')))}` for its usage."
    )


def test_a_shell_without_completion_is_no_failed_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("typer.completion._get_shell_name", lambda: "tcsh")
    assert main(["--show-completion"]) == 2
    assert [line.split(": ")[0] for line in capsys.readouterr().err.splitlines()[-2:]] == ["Error", "Hint"]


def test_an_error_of_the_system_names_its_path_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["patch", str(MINI), "--out", str(tmp_path / ("x" * 300)), "--no-verify"]) == 3
    error, hint = capsys.readouterr().err.splitlines()
    assert "File name too long" in error and hint.startswith("Hint: Check that path, or use another")


@pytest.mark.parametrize(
    "words",
    [
        ["threshold", "nothing/here"],
        ["export", "nothing/here"],
        ["search", "nothing/here", "TEXTS", "Hvem?"],
        ["encode", "nothing/here", "TEXTS", "--to", "parquet"],
    ],
    ids=lambda words: words[0],
)
def test_a_missing_package_is_told_before_the_model_is_looked_for_and_anybody_is_asked(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"id": "1", "text": "Fjorden."}\n')
    monkeypatch.setattr(
        "patcher.verify.preconditions.find_spec",
        lambda name: None if name == "sentence_transformers" else find_spec(name),
    )
    assert main([str(texts) if word == "TEXTS" else word for word in words]) == 3
    error, hint = capsys.readouterr().err.splitlines()
    assert error.endswith("sentence-transformers, which is not installed."), error
    assert hint == "Hint: pip install 'sentence-transformers>=6,<7'"


def test_a_reader_that_has_seen_enough_ends_the_command_without_a_word() -> None:
    words = [sys.executable, "-m", "patcher", "plan", str(MINI)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as done:
        assert done.stdout is not None and done.stderr is not None
        done.stdout.close()
        assert "Traceback" not in (said := done.stderr.read().decode()) and "Error" not in said
