"""The process that will run a model is started early, and reads nothing of it before it is asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from patcher.cli import main
from patcher.sandbox.guard import started
from tests.conftest import ROOT, Run


def test_only_a_verification_starts_a_child_and_on_the_first_of_its_devices(
    patched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[str, str]] = []

    @contextmanager
    def start(module: str, device: str, *_: object) -> Iterator[None]:
        begun.append((module, device))
        yield

    monkeypatch.setattr("patcher.sandbox.guard.started", start)
    monkeypatch.setattr("patcher.verify.preconditions._devices", lambda: ["cuda", "cpu"])
    for words in (["verify", "--help"], ["verify", patched, "--device", "tpu"], ["card", patched]):
        main([str(word) for word in words])
    assert begun == []
    for words, device in (([], "auto"), (["--device", "cpu"], "cpu"), (["--device=cuda,cpu"], "cuda")):
        assert main(["verify", str(patched), *words]) == 3, "nobody said that the code may run"
        assert begun.pop() == ("patcher.verify.measure.logits", device)


def test_a_child_that_is_never_asked_leaves_nothing_behind() -> None:
    with started("patcher.verify.measure.logits", "cpu") as child:
        pid, scratch = child.process.pid, child.scratch
        assert scratch.is_dir()
    assert not scratch.exists() and not Path(f"/proc/{pid}").exists()


def test_a_child_whose_parent_went_away_ends_without_doing_anything() -> None:
    with started("patcher.verify.measure.logits", "cpu") as child:
        assert child.process.stdin is not None
        child.process.stdin.close()
        assert child.process.wait(120) == 0 and not (child.scratch / "answer.json").exists()


def test_a_refusal_to_trust_runs_nothing_although_the_child_is_there(patched: Path, cli: Run, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (patched / "modeling_gptbert.py").write_text(f"open({str(mark)!r}, 'w')")
    (patched / "configuration_gptbert.py").write_text(f"open({str(mark)!r}, 'w')")
    done = cli("verify", patched, "--device", "cpu")
    assert done.returncode == 3 and "was not confirmed" in done.stderr
    assert not mark.exists()


LEAVE = (
    "from patcher.sandbox.process import exit_now; import atexit; "
    "atexit.register(print, 'tidy'); print('said'); exit_now(3{})"
)


def test_a_process_ends_with_its_code_when_everything_is_said_and_tidied() -> None:
    for tidy, said in (("", "said\ntidy\n"), (", tidy=False", "said\n")):
        done = subprocess.run([sys.executable, "-c", LEAVE.format(tidy)], cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (3, said, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_what_could_not_be_printed_is_told() -> None:
    with open("/dev/full", "w") as full:
        code = [sys.executable, "-c", LEAVE.format("").replace("exit_now(3", "exit_now(0")]
        done = subprocess.run(code, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode != 0 and "No space left" in done.stderr
