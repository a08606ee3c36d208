"""What a person sees in a real terminal of 80 columns, with every bar switched on."""

# ruff: noqa: F811 - the fixtures of publishing
from __future__ import annotations

import re
from pathlib import Path

import pytest

from patcher.cli.app import ORDER
from tests.cli.transcript import COLUMNS, COMMANDS, TRAINED, run_in_terminal
from tests.hub import LocalHub
from tests.hub.fixtures import OLA, client_env
from tests.publish.conftest import hub, running_hub  # noqa: F401
from tests.publish.tools import SOURCE

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


BAR = """
import sys, time
from patcher.cli.console import Console, Running
with Running():
    console = Console().listen()
    with console.progress("texts") as show:
        show("cpu", 0, 65)
        time.sleep(1.1)
        for done in (10, 20, 30):
            show("cpu", done, 65)
            time.sleep(0.15)
        print("of a library", file=sys.stderr)
        show("cpu", 40, 65)
    console.result(None, "", lambda: ["result"])
"""


def test_the_transcript_shows_every_command() -> None:
    """What is looked at before a release: with a trained model all of them."""
    assert {command.split()[0] for command, _ in (*COMMANDS, *TRAINED) if command} >= set(ORDER)


def screen(shown: str) -> list[str]:
    """The lines that a terminal shows in the end."""
    lines, row = [""], 0
    for part in re.split(r"(\n|\r|\x1b\[\d*A|\x1b\[2K)", shown):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part.endswith("A") and part.startswith("\x1b["):
            row -= int(part[2:-1] or 1)
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part != "\r":
            lines[row] += ESCAPES.sub("", part)
    return lines


def test_a_bar_stays_on_one_line_and_is_gone_before_anything_else_is_printed(tmp_path: Path) -> None:
    code, shown = run_in_terminal([BAR], client_env("", tmp_path, None), tmp_path, program=["-c"])
    assert code == 0 and "10/65 texts" in shown and "30/65 texts" in shown
    assert screen(shown) == ["of a library", "result", ""]
    assert shown.count("\n") == 3, "no line for each step"


@pytest.mark.parametrize("mode", [[], ["--quiet"]])
def test_a_download_draws_no_bar_of_a_library_though_it_is_demanded(
    hub: LocalHub, tmp_path: Path, mode: list[str]
) -> None:
    environment = client_env(hub.endpoint, tmp_path / "home", OLA) | {"HF_HUB_DISABLE_PROGRESS_BARS": "0"}
    code, shown = run_in_terminal(["patch", SOURCE, "--out", "out", "--no-verify", *mode], environment, tmp_path)
    assert code == 0, shown
    if mode:
        assert shown == "out\n", "nothing on stderr"
        return
    lines = screen(shown)
    assert lines[0].startswith(f"Patching {SOURCE}@") and lines[-2:] == ["next: patcher verify out", ""]
    assert "Fetching" not in shown and "%|" not in shown and "Downloading" not in shown
    assert "\x1b[31m-        subword_prediction = 30 *" in shown, "the diff has git's colours"
    assert all(len(line) <= COLUMNS or line[:1] in {"+", "-", " "} for line in lines), "code alone is longer"
