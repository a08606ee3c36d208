"""Data goes to stdout and talk to stderr, in three modes; what models and Hubs say is text and acts on nothing."""

from __future__ import annotations

import json
import logging
import re
import sys
from io import StringIO
from pathlib import Path

import pytest

from patcher.cli import main
from patcher.cli.console import Console, Diff, Failure, Running, Table
from patcher.errors import PatcherError


@pytest.mark.parametrize("mode", [(), ("--json",), ("--quiet",)])
def test_no_command_passes_a_control_character_on(
    mode: tuple[str, ...], mini: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = mini / "modeling_gptbert.py"
    cap = "subword_prediction = 30 * torch.sigmoid(subword_prediction / 7.5)"
    path.write_text(path.read_text().replace(f"{cap}\n", f"{cap}  # \x1b[2J \u202e \x9b\n"))
    strange = mini.rename(tmp_path / "a\x1b[31mb")
    for words in (
        ["plan", strange],
        ["plan", tmp_path / "\x1b[31m"],
        ["patch", strange, "--out", tmp_path / "o", "--no-verify"],
    ):
        main([str(word) for word in (*words, *mode)])
        said = "".join(capsys.readouterr()).replace("\n", "").replace("\t", "")
        assert said and said.isprintable(), ascii(said)


def printed(console: Console, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    console.talk("talk")
    console.result(
        {"a": "å\x1b"}, "line", lambda: [Table(("h", "n"), [("x\ny", "1")], right=(1,)), Diff("+a\n"), "end"]
    )
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_people_get_tables_diffs_and_lines(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = printed(Console(), capsys)
    assert [line.rstrip() for line in out.splitlines()] == ["h     n", "x\\ny  1", "+a", "", "end"] and err == "talk\n"


def test_json_is_one_document_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = printed(Console(as_json=True), capsys)
    assert json.loads(out)["a"] == "å\x1b" and "\x1b" not in out and err == "talk\n"


def test_quiet_is_one_line_and_no_talk(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(Console(quiet=True), capsys) == ("line\n", "")


def test_an_error_is_told_in_every_mode(capsys: pytest.CaptureFixture[str]) -> None:
    Console(quiet=True).error(PatcherError("Wrong.\nHint: forged", "Do this."))
    assert capsys.readouterr().err == "Error: Wrong.\\nHint: forged\nHint: Do this.\n"


def test_text_is_not_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Console().show(["[red]a[/red] :smile:"])
    assert capsys.readouterr().out == "[red]a[/red] :smile:\n"


@pytest.mark.parametrize(("answer", "agreed"), [("y", True), (" YES ", True), ("n", False), ("", False), ("yo", False)])
def test_only_a_yes_is_a_yes(monkeypatch: pytest.MonkeyPatch, answer: str, agreed: bool) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda *_: answer)
    assert Console(agent=True).confirm("Run it?") is None
    assert Console().confirm("Run it?") is agreed
    assert Console(as_json=True).confirm("Run it?") is None and Console(quiet=True).confirm("Run it?") is None


def test_where_nobody_can_answer_there_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert Console().confirm("Run it?") is None


class Terminal(StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Both streams of a terminal with 80 columns. Not a fixture: pytest changes the streams after those."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return stream


def test_a_bar_shows_how_many_are_done_each_second_and_is_gone_before_anything_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal, now, console = open_terminal(monkeypatch), [0.0], Console()
    monkeypatch.setattr("patcher.cli.console.time.monotonic", lambda: now[0])
    with console.progress("texts") as show:
        for second, done in ((10, 100), (11, 200), (12, 300)):  # a hundred were there before
            now[0] = second
            show("vectors", done, 400)
        console.talk("said")
    shown = terminal.getvalue()
    assert not re.search(r"\x1b\[(3|4)\d", shown), "no colour that one background hides"
    assert "100 per second" in shown and "300/400 texts" in shown
    assert shown.splitlines()[-1].endswith("said") and "per second" not in shown.splitlines()[-1]


def test_colours_are_those_of_git_and_failures_alone_are_red(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    diff = Diff("--- a/x\n+++ b/x\n@@ -1 +1 @@\n same = 1\n-old = sigmoid\n+new\n")
    Console().show([diff, Table(("", "check"), [("FAILED", "a"), ("passed", "b")]), Failure("FAILED: a."), "said"])
    lines = terminal.getvalue().splitlines()
    styled = {line.replace("\x1b[0m", "") for line in lines if "\x1b" in line}
    assert {"\x1b[31m-old = sigmoid", "\x1b[32m+new", "\x1b[36m@@ -1 +1 @@", "\x1b[1;31mFAILED: a."} <= styled
    assert " same = 1" in lines and "said" in lines and "passed  b" in lines
    assert any("\x1b[1;31mFAILED\x1b[0m" in line and line.endswith("a") for line in lines)


def test_a_table_fits_the_terminal_and_divides_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    digest = "0123456789" * 4
    table = Table(("", "file", "sha", "why"), [("passed", "model.safetensors", digest, "word " * 30)])
    Console().table(table)
    first, *_ = [line for line in terminal.getvalue().splitlines() if line.startswith("passed")]
    assert f"passed  model.safetensors  {digest}" in first
    assert all(
        len(line) <= 80 for line in terminal.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "").split("\n")
    )


def test_code_in_a_sentence_is_divided_before_a_table_is_wider_than_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = open_terminal(monkeypatch)
    reason = "already patched: `subword_prediction = 30 * torch.sigmoid(subword_prediction_of_the_head / 7.5)`"
    rows = [("computed_buffers", "not needed", "configuration_gptbert.py", reason)]
    Console().table(Table(("codemod", "status", "file", "where"), rows))
    shown = terminal.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert all(len(line) <= 80 for line in shown), shown
    assert shown[1].startswith("computed_buffers  not needed  configuration_gptbert.py  already patched")


def test_a_diff_is_shown_once_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, console = open_terminal(monkeypatch), Console()
    console.talk(Diff("+a\n"))
    console.show([Diff("+a\n"), Diff("+b\n")])
    assert terminal.getvalue().count("+a") == terminal.getvalue().count("+b") == 1
    file = StringIO()
    monkeypatch.setattr(sys, "stdout", file)
    console.show([Diff("+a\n")])
    assert file.getvalue() == "+a\n\n", "a file gets all of the result"


def test_programs_get_tabs_and_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    Console(agent=True).show([Diff("+a\n"), Table(("h", "n"), [("x\ty", "1")]), Failure("FAILED: a.")])
    assert terminal.getvalue() == "+a\n\nh\tn\nx y\t1\nFAILED: a.\n"


BAR = "Fetching: 10%|#   |\rFetching: 100%|####|\n"


@pytest.mark.parametrize("quiet", [False, True])
def test_libraries_may_say_whole_lines_and_draw_no_bars(monkeypatch: pytest.MonkeyPatch, quiet: bool) -> None:
    terminal = open_terminal(monkeypatch)
    with Running():
        Console(quiet=quiet).listen()
        late = sys.stderr
        print("Warning: \x1b[31mlook", file=sys.stderr)
        sys.stderr.write(f"{BAR}\n")
        logging.getLogger("patcher").info("Patching ...")
    assert sys.stderr is terminal
    assert terminal.getvalue() == ("" if quiet else "Warning: \\x1b[31mlook\nPatching ...\n")
    late.write("after")  # a handler that a library made meanwhile
    assert terminal.getvalue().endswith("after")
