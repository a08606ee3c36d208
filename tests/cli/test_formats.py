"""`--format` and the defaults and groups of options, by running commands and reading their help."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from patcher import cli as commands
from patcher.cli import main
from patcher.cli import options as opt
from patcher.cli.app import FORMATS, ORDER, OUTPUT
from tests.conftest import MINI

GROUPS = ("Arguments", "Options", opt.RUNNING, opt.STORAGE, opt.CODE, OUTPUT)


def said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    return (code, *capsys.readouterr())


def test_each_format_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    human, agent, as_json, quiet = (said(capsys, "plan", MINI, "--format", one) for one in FORMATS)
    assert [one[0] for one in (human, agent, as_json, quiet)] == [0] * 4
    assert human == said(capsys, "plan", MINI) and re.search(r"^codemod +status +file", human[1], re.MULTILINE)
    assert "\ncodemod\tstatus\tfile\twhere\n" in agent[1] and "next: patcher patch" in agent[2]
    assert json.loads(as_json[1])["source"] and as_json == said(capsys, "plan", MINI, "--json")
    assert quiet[1:] == (f"{MINI}\n", "") and quiet == said(capsys, "plan", MINI, "-q")


@pytest.mark.parametrize("command", ["card", "templates", "patch"])
def test_other_commands_know_each_format_too_before_and_behind_their_words(
    command: str, patched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"card": [patched], "templates": [tmp_path / "t"], "patch": [patched, "--out", tmp_path / "o"]}[command]
    for form in FORMATS:
        behind = said(capsys, command, *words, "--format", form)
        assert behind == said(capsys, command, f"--format={form}", *words) and behind[0] == 0
        assert (form == "json") is behind[1].startswith("{") and (form == "quiet") is (behind[2] == ""), behind


def test_a_program_is_not_asked(patched: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it was asked"))
    code, _, err = said(capsys, "verify", patched, "--format", "agent")
    assert code == 3 and "--trust-remote-code" in err


def test_what_is_written_has_a_default_name_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command, name in (("patch", "norbert4-mini-splade"), ("repair", "norbert4-mini-repaired")):
        assert said(capsys, command, MINI, "--no-verify", "-q") == (0, f"{name}\n", "")
        assert (tmp_path / name / "patch.json").is_file()
    assert str(opt.default_out("ola/model@v1", "onnx-int8")) == "model-onnx-int8"
    assert str(opt.default_out(".", "onnx")) == f"{tmp_path.name}-onnx"


def test_the_source_that_a_folder_is_from_reaches_its_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("patch", "repair"):
        out = tmp_path / command
        words = (command, MINI, "--out", out, "--no-verify", "--base-model", "ltg/norbert4-base")
        assert said(capsys, *words)[0] == 0
        card = (out / "README.md").read_text("utf-8")
        assert "\nbase_model: ltg/norbert4-base\n" in card
        assert (
            "- source: folder `norbert4-mini` of [ltg/norbert4-base](https://huggingface.co/ltg/norbert4-base)" in card
        )


def sections(shown: str) -> dict[str, str]:
    """The parts of a help text by their headings."""
    found = re.split(r"^(\w[\w ]*):\n", shown.partition("Examples:")[0], flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


@pytest.mark.parametrize("command", ORDER)
def test_each_option_stands_once_in_a_group_that_says_what_it_is_for(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown, _ = said(capsys, command, "--help")
    groups = sections(shown)
    assert code == 0 and set(groups) <= set(GROUPS), groups.keys()
    assert all(f"--{one}" in groups[OUTPUT] for one in ("format", "json", "quiet")), groups[OUTPUT]
    typed: Any = typer.main.get_command(commands.app)
    for param in typed.commands[command].params:
        named = [name for name in param.opts if name.startswith("--")]
        listed = [title for title, text in groups.items() for name in named if re.search(rf"{name}[ ,/\n]", text)]
        panel = getattr(param, "rich_help_panel", None) or "Options"
        assert not named or set(listed) == {panel}, (named, listed)
    for name, group in (("--trust-remote-code", opt.RUNNING), ("--link", opt.STORAGE), ("--also-causal-lm", opt.CODE)):
        assert name not in shown or name in groups[group]
