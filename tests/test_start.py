"""The process that will run a model is started early, and reads nothing of it before it is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from patcher.__main__ import waited_for
from patcher.verify.guard import started
from tests.conftest import Run


@pytest.mark.parametrize(
    ("words", "device"),
    [
        (["verify", "x"], "auto"),
        (["verify", "x", "--device", "cpu"], "cpu"),
        (["verify", "x", "--device=cuda,cpu"], "cuda"),
        (["verify", "--help"], None),
        (["plan", "x"], None),
        (["patch", "x", "--device", "cpu"], None),
        ([], None),
    ],
)
def test_only_a_verification_is_prepared_for(words: list[str], device: str | None) -> None:
    assert waited_for(words) == device


def test_a_child_that_is_never_asked_leaves_nothing_behind() -> None:
    with started("patcher.verify.child", "cpu") as child:
        pid, scratch = child.process.pid, child.scratch
        assert scratch.is_dir()
    assert not scratch.exists() and not Path(f"/proc/{pid}").exists()


def test_a_child_whose_parent_went_away_ends_without_doing_anything() -> None:
    with started("patcher.verify.child", "cpu") as child:
        assert child.process.stdin is not None
        child.process.stdin.close()
        assert child.process.wait(120) == 0 and not child.answer.exists()


def test_a_refusal_to_trust_runs_nothing_although_the_child_is_there(patched: Path, cli: Run, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (patched / "modeling_gptbert.py").write_text(f"open({str(mark)!r}, 'w')")
    (patched / "configuration_gptbert.py").write_text(f"open({str(mark)!r}, 'w')")
    done = cli("verify", patched, "--device", "cpu")
    assert done.returncode == 1 and "nobody agreed" in done.stderr
    assert not mark.exists()
