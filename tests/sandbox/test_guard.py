"""What model code may see while it is verified: no token, no network, its own caches, a limited time."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import VerificationError
from patcher.sandbox.guard import ask, environment, started
from tests.conftest import ROOT
from tests.sandbox.conftest import LEVELS, needs_bubblewrap
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


HUGE_PAGES = """
import ctypes
allocate = ctypes.CDLL(None).malloc
allocate.restype = ctypes.c_void_p
address, inside = allocate(ctypes.c_size_t(64 << 20)), False
for first, *rest in map(str.split, open("/proc/self/smaps")):
    if first == "VmFlags:" and inside:
        print("hg" in rest)
    elif "-" in first:
        low, high = (int(end, 16) for end in first.split("-"))
        inside = low <= address < high
"""


def test_large_tensors_are_given_huge_pages(seen: dict[str, Any], scratch: Path) -> None:
    """By glibc where the kernel gives them to whom asks; a third less CPU time for 3,000 short texts."""
    assert seen["environment"]["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    name, found = platform.libc_ver()
    version = tuple(int(part) for part in found.split(".") if part.isdigit())
    if not setting.exists() or "[madvise]" not in setting.read_text() or name != "glibc" or version < (2, 35):
        pytest.skip("glibc does not ask this kernel for huge pages")
    shown = [
        subprocess.run([sys.executable, "-c", HUGE_PAGES], env=one, capture_output=True, text=True).stdout
        for one in (environment(scratch, "cpu"), {"PATH": os.environ["PATH"]})
    ]
    assert shown == ["True\n", "False\n"]


def test_caches_and_home_are_its_own(scratch: Path) -> None:
    environment = run_child(CHILD, {"do": "look"}, dict[str, Any], scratch, "auto", 60)["environment"]
    for name in ("HOME", "HF_HOME", "HF_MODULES_CACHE", "XDG_CACHE_HOME"):
        assert Path(environment[name]).is_relative_to(scratch)


def running(words: str) -> str:
    """The processes whose command holds these words, in whatever process namespace."""
    return subprocess.run(["pgrep", "-f", words], capture_output=True, text=True).stdout


def ends(words: str, within: float) -> bool:
    """Whether no process with these words in its command is left after some seconds."""
    deadline = time.monotonic() + within
    while running(words) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not running(words)


@pytest.mark.parametrize("level", LEVELS)
def test_a_model_that_takes_too_long_is_stopped_with_all_it_started(scratch: Path, level: str) -> None:
    begun = time.monotonic()
    with pytest.raises(VerificationError, match="did not finish within 3 seconds"):
        run_child(CHILD, {"do": "sleep"}, dict[str, Any], scratch, "cpu", 3, sandbox=level)
    assert time.monotonic() - begun < 30
    assert ends(f"{CHILD} {scratch}", 1)


@needs_bubblewrap
def test_what_the_model_started_does_not_outlive_it(scratch: Path) -> None:
    """In a session of its own too."""
    seconds = f"97.{os.getpid()}"
    run_child(CHILD, {"do": "leave", "seconds": seconds}, dict[str, Any], scratch, "cpu", 60)
    assert ends(f"sleep {seconds}", 1)


PARENT = """
import sys
from pathlib import Path
from patcher.sandbox.guard import ask, started
with started(sys.argv[1], "cpu", [], sys.argv[2], Path(sys.argv[3])) as child:
    ask(child, {"do": sys.argv[4]}, dict, 600, lambda: print("asked", flush=True))
"""


def begin(folder: Path, level: str, what: str = "wait") -> subprocess.Popen[str]:
    """A parent that waits for a child, which works."""
    words = [sys.executable, "-c", PARENT, CHILD, level, str(folder), what]
    parent = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None and parent.stdout.readline() == "asked\n"
    return parent


@pytest.mark.parametrize("level", [*LEVELS, "none"])
def test_a_killed_parent_leaves_no_child(tmp_path: Path, level: str) -> None:
    parent = begin(tmp_path, level)
    assert running(f"{CHILD} {tmp_path}")
    parent.kill()
    parent.wait()
    assert ends(f"{CHILD} {tmp_path}", 2)


def test_a_child_that_outlives_its_parent_and_its_time_ends_itself(scratch: Path) -> None:
    """Where the kernel does not end it with its parent, an alarm does."""
    (scratch / "request.json").write_text('{"do": "alarm"}')
    answer = run_child(CHILD, {"do": "alarm"}, dict[str, Any], scratch, "cpu", 30)
    assert 60 < answer["alarm"] <= 90


def test_folders_of_killed_parents_are_removed_and_no_others(tmp_path: Path) -> None:
    parent = begin(tmp_path, "none")
    [left] = tmp_path.glob("patcher-*")
    live = begin(tmp_path, "none")
    [claimed] = set(tmp_path.glob("patcher-*")) - {left}
    parent.kill()
    parent.wait()
    (tmp_path / "patcher-norbert4").mkdir()  # a name as of ours
    for folder in (left, claimed, tmp_path / "patcher-norbert4"):
        os.utime(folder, (0, 0))
    with started(CHILD, "cpu", parent=tmp_path):
        assert not left.exists() and claimed.exists() and (tmp_path / "patcher-norbert4").exists()
    live.kill()
    live.wait()
    with started(CHILD, "cpu", parent=tmp_path):
        assert not claimed.exists()


def test_folders_nested_deeper_than_python_recurses_are_removed(tmp_path: Path) -> None:
    with started(ACTS, "cpu", parent=tmp_path) as child:
        assert ask(child, {"do": "nest"}, dict[str, Any], 60) == {}
    assert list(tmp_path.iterdir()) == []


def test_the_caller_s_python_path_is_passed_on_and_readable(
    scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv("PYTHONPATH", os.path.relpath(tmp_path / "mine"))
    (tmp_path / "mine" / "sitecustomize.py").write_text("import sys; sys.path.append('it was read')")
    assert "it was read" in run_child(CHILD, {"do": "look"}, dict[str, Any], scratch, "cpu", 60)["path"]


def test_a_crash_is_told_in_one_line(scratch: Path) -> None:
    with pytest.raises(VerificationError, match="ValueError: the model is a teapot"):
        run_child(CHILD, {"do": "crash"}, dict[str, Any], scratch, "cpu", 60)


@pytest.mark.parametrize("forged", ["[1]", "[" * 200_000, "nonsense", ""])
def test_an_answer_that_is_none_is_told(forged: str, scratch: Path) -> None:
    with pytest.raises(VerificationError, match=r"The child process's answer can't be read: ."):
        run_child(ACTS, {"do": "forged", "answer": forged}, dict[str, Any], scratch, "cpu", 60)


def test_code_that_never_returns_is_stopped_in_time(scratch: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(VerificationError, match="did not finish within 2 seconds"):
        run_child(ACTS, {"do": "sleep"}, dict[str, Any], scratch, "cpu", 2)
    assert time.monotonic() - begun < 20


def test_packages_that_a_user_installed_are_found_although_the_home_is_another(tmp_path: Path) -> None:
    inherited = environment(tmp_path, "cpu")
    command = [sys.executable, "-c", "import site; print(site.getusersitepackages())"]
    (theirs,) = {
        subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
        for env in (inherited, {**os.environ})
    }
    assert str(tmp_path) not in theirs
