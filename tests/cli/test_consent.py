"""Consent with knowledge: every file that would run can be read first, and a no is answered."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from patcher.cli import main
from patcher.cli.consent import require_trust
from patcher.cli.console import Console
from patcher.errors import Cancelled, TrustRequired
from patcher.source.snapshot import Source, sha256_of
from tests.conftest import COMMIT, MINI

CODE = {"modeling_gptbert.py": b"x = 1\n", "configuration_gptbert.py": b""}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What somebody at a terminal answers."""
    given: list[str] = ["n"]
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda *_: given[0])
    return given


def test_the_prompt_links_each_file_at_exactly_its_revision_and_shows_the_patch(
    answers: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    diff = "--- a/modeling_gptbert.py\n+++ b/modeling_gptbert.py\n@@ -1 +1 @@\n-y\n+x\n"
    source = Source("ltg/norbert4-base", COMMIT, None)
    with pytest.raises(Cancelled, match="Cancelled; nothing was run"):
        require_trust(Console(), CODE, source, trusted=False, changed={"modeling_gptbert.py": b""}, diff=diff)
    out, err = capsys.readouterr()
    assert out == "" and diff in err
    for name, content in CODE.items():
        assert f"https://huggingface.co/ltg/norbert4-base/blob/{COMMIT}/{name}" in err
        assert f"sha256 {hashlib.sha256(content).hexdigest()}" in err
    assert "modeling_gptbert.py, with the changes below" in err
    answers[0] = "y"
    require_trust(Console(), CODE, source, trusted=False)


def test_a_local_file_is_named_by_its_path_and_no_is_answered(
    answers: list[str], patched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = patched.parent / "out"
    for command, folder in ((["verify", patched], patched), (["patch", MINI, "--out", out], MINI)):
        assert main([str(word) for word in command]) == 3
        err = capsys.readouterr().err
        assert f"    {folder / 'modeling_gptbert.py'}\n    sha256 {sha256_of(patched / 'modeling_gptbert.py')}\n" in err
        assert f"    {folder / 'configuration_gptbert.py'}\n" in err and "-        subword_prediction = 30 *" in err
        assert err.endswith("Run it? [y/N] Cancelled; nothing was run.\n")
    assert not out.exists()


@pytest.mark.parametrize("mode", [{"as_json": True}, {"quiet": True}, {"agent": True}])
def test_where_nobody_is_asked_the_flag_is_named(answers: list[str], mode: dict[str, bool]) -> None:
    with pytest.raises(TrustRequired) as caught:
        require_trust(Console(**mode), CODE, "x", trusted=False)
    assert "--trust-remote-code" in caught.value.hint
