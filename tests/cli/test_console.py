"""What models and Hubs say reaches a terminal, JSON and a card as text, and acts on none of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Run


@pytest.mark.parametrize("mode", [(), ("--json",), ("--quiet",)])
def test_no_command_passes_a_control_character_on(mode: tuple[str, ...], cli: Run, mini: Path, tmp_path: Path) -> None:
    path = mini / "modeling_gptbert.py"
    cap = "subword_prediction = 30 * torch.sigmoid(subword_prediction / 7.5)"
    path.write_text(path.read_text().replace(f"{cap}\n", f"{cap}  # \x1b[2J \u202e \x9b\n"))
    strange = mini.rename(tmp_path / "a\x1b[31mb")
    for words in (
        ["plan", strange],
        ["plan", tmp_path / "\x1b[31m"],
        ["patch", strange, "--out", tmp_path / "o", "--no-verify"],
    ):
        done = cli(*words, *mode)
        said = (done.stdout + done.stderr).replace("\n", "").replace("\t", "")
        assert said.isprintable(), ascii(said)
