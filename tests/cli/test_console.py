"""Data goes to stdout and talk to stderr, in three modes; what models and Hubs say is text and acts on nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patcher.cli import main
from patcher.cli.console import Console, Diff, Table
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
    assert Console().confirm("Run it?") is agreed
    assert Console(as_json=True).confirm("Run it?") is None and Console(quiet=True).confirm("Run it?") is None


def test_where_nobody_can_answer_there_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert Console().confirm("Run it?") is None


def test_a_bar_shows_how_many_are_done_each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    from io import StringIO

    from rich.console import Console as Rich

    now, console = [0.0], Console()
    monkeypatch.setattr("patcher.cli.console.time.monotonic", lambda: now[0])
    console.__dict__["_err"] = Rich(file=StringIO(), force_terminal=True, width=120)
    with console.progress("texts") as show:
        for second, done in ((10, 100), (11, 200), (12, 300)):  # a hundred were there before
            now[0] = second
            show("vectors", done, 400)
    assert "100 per second" in console._err.file.getvalue() and "300/400" in console._err.file.getvalue()
