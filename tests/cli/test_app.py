"""What the commands share: their order, their help, and the consent before code of a model runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from patcher import cli as commands
from patcher.cli import main
from patcher.cli.app import ORDER
from patcher.constants import REPAIRS
from patcher.planning.options import NAMES
from tests.conftest import MINI


def test_model_code_is_not_run_without_a_yes(patched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (patched / "modeling_gptbert.py").write_text("open('/tmp/should-not-be-there', 'w')")
    for command in (("verify", patched), ("patch", MINI, "--out", tmp_path / "out")):
        assert main([str(word) for word in command]) == 3
        assert "--trust-remote-code" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_help_and_version_need_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "plan" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("splade-patcher ")


def test_every_command_is_listed_in_the_order_of_the_work() -> None:
    names = {command.name or command.callback.__name__ for command in commands.app.registered_commands}  # type: ignore[union-attr]
    assert {"plan", "patch", "verify", "card"} <= names
    assert names == set(ORDER)


@pytest.mark.parametrize("command", ORDER)
def test_the_help_of_each_command_ends_with_examples_whose_options_exist(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    options, _, shown = capsys.readouterr().out.partition("Examples:")
    assert f"$ patcher {command} " in shown
    assert all(word in options for word in shown.split() if word.startswith("--"))


def test_the_codemods_are_named_where_one_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("plan", "patch"):
        assert main([command, "--help"]) == 0
        listed = capsys.readouterr().out.partition("--codemod NAME")[2].partition("options:")[0]
        named, _, meant = " ".join(listed.split()).partition("`repairs` means")
        assert all(name in named for name in NAMES) and all(name in meant for name in REPAIRS)
