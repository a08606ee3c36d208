"""What model code may see while it is verified: no token, no network, its own caches, a limited time."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import VerificationError
from tests.sandbox.stand_in import run_child

TOKEN = "hf_recognisableFakeToken0123456789"
CHILD = "tests.sandbox.probe"
ACTS = "tests.sandbox.acts"


def test_no_token_is_in_reach(scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / ".cache" / "huggingface").mkdir(parents=True)
    (home / ".cache" / "huggingface" / "token").write_text(TOKEN)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, TOKEN)
    monkeypatch.setenv("HOME", str(home))
    answer = run_child(CHILD, {"do": "look"}, dict[str, Any], scratch, "cpu", 60)
    assert answer["token"] is None
    assert TOKEN not in str(answer["environment"])
    assert Path(answer["token_path"]).is_relative_to(scratch)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a child for the CPU sees."""
    return run_child(CHILD, {"do": "look"}, dict[str, Any], tmp_path_factory.mktemp("scratch"), "cpu", 60)


def test_the_hub_is_offline(seen: dict[str, Any]) -> None:
    assert seen["offline"] is True


def test_the_cpu_is_a_cpu_without_cuda_in_sight(seen: dict[str, Any]) -> None:
    assert seen["environment"]["CUDA_VISIBLE_DEVICES"] == ""


def test_caches_and_home_are_its_own(scratch: Path) -> None:
    environment = run_child(CHILD, {"do": "look"}, dict[str, Any], scratch, "auto", 60)["environment"]
    for name in ("HOME", "HF_HOME", "HF_MODULES_CACHE", "XDG_CACHE_HOME"):
        assert Path(environment[name]).is_relative_to(scratch)


def test_a_model_that_takes_too_long_is_stopped_with_all_it_started(scratch: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(VerificationError, match="did not finish within 3 seconds"):
        run_child(CHILD, {"do": "sleep"}, dict[str, Any], scratch, "cpu", 3)
    assert time.monotonic() - begun < 30
    left = subprocess.run(["pgrep", "-f", f"{CHILD} {scratch}"], capture_output=True, text=True).stdout
    assert left == ""


def lives(pid: int) -> bool:
    """Whether a process runs; one that nobody waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_the_model_started_does_not_outlive_it(scratch: Path) -> None:
    answer = run_child(CHILD, {"do": "leave"}, dict[str, Any], scratch, "cpu", 60)
    deadline = time.monotonic() + 0.2
    while lives(answer["left"]) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not lives(answer["left"])


def test_a_crash_is_told_in_one_line(scratch: Path) -> None:
    with pytest.raises(VerificationError, match="ValueError: the model is a teapot"):
        run_child(CHILD, {"do": "crash"}, dict[str, Any], scratch, "cpu", 60)


@pytest.mark.parametrize("forged", ["[1]", "[" * 200_000, "nonsense", ""])
def test_an_answer_that_is_none_is_told(forged: str, scratch: Path) -> None:
    with pytest.raises(VerificationError, match=r"The child's answer can't be read: ."):
        run_child(ACTS, {"do": "forged", "answer": forged}, dict[str, Any], scratch, "cpu", 60)


def test_code_that_never_returns_is_stopped_in_time(scratch: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(VerificationError, match="did not finish within 2 seconds"):
        run_child(ACTS, {"do": "sleep", "given": []}, dict[str, Any], scratch, "cpu", 2)
    assert time.monotonic() - begun < 20
