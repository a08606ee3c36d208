"""Model code that looks for secrets, the network, other processes or other people's files is stopped, by name."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import VerificationError
from tests.sandbox.acts import ACTS
from tests.sandbox.stand_in import run_child

CHILD = "tests.sandbox.acts"
HEADER = Path(sysconfig.get_path("include"), "Python.h")
SECRET = "hf_RecognisableSecretToken0123456789"
TOKEN_FILES = (".cache/huggingface/token", ".netrc", ".git-credentials")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def request_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A home with tokens, a file of somebody else, and a socket that listens."""
    home = tmp_path / "home"
    for name in TOKEN_FILES:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(SECRET)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HF_TOKEN", SECRET)
    (tmp_path / "victim").write_text("whole")
    given = tmp_path / "model" / "config.json"
    given.parent.mkdir()
    given.write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(str(tmp_path / "s"))
        local.listen()
        yield {
            "home": str(home),
            "port": server.getsockname()[1],
            "unix": str(tmp_path / "s"),
            "parent": os.getpid(),
            "mark": str(tmp_path / "mark"),
            "victim": str(tmp_path / "victim"),
            "given": [str(given)],
        }
    assert not (tmp_path / "mark").exists()
    assert (tmp_path / "victim").read_text() == "whole"


@pytest.mark.parametrize("act", ACTS)
def test_an_act_that_no_model_needs_ends_the_child_and_is_told(
    act: str, scratch: Path, request_of: dict[str, Any]
) -> None:
    with pytest.raises(VerificationError) as caught:
        run_child(CHILD, {**request_of, "do": act}, dict[str, Any], scratch, "cpu", 60)
    assert caught.value.message.startswith(f"The model's code tried to {ACTS[act][1]}"), caught.value.message
    assert SECRET not in str(caught.value)


def test_what_a_model_needs_is_allowed(scratch: Path, request_of: dict[str, Any]) -> None:
    """Reading what it was given, though that lies among private files, and its own files in any way."""
    answer = run_child(CHILD, {**request_of, "do": "harmless"}, dict[str, Any], scratch, "cpu", 60)
    assert answer == {"done": "['{}']"}
    assert (scratch / "other").read_text() == "x"


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are Linux's")
def test_compiled_code_is_held_by_the_kernel(scratch: Path, request_of: dict[str, Any]) -> None:
    done = run_child(CHILD, {**request_of, "do": "compiled"}, dict[str, Any], scratch, "cpu", 60)["done"]
    allowed = {"library", "scratch", "thread", "null", "itself", "machine"}
    assert {name for name, outcome in done.items() if outcome.startswith("done")} == allowed, done


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are Linux's")
def test_programs_that_may_be_started_are_held_as_the_code_is(scratch: Path, request_of: dict[str, Any]) -> None:
    done = run_child(CHILD, {**request_of, "do": "programs"}, dict[str, Any], scratch, "cpu", 60)["done"]
    allowed = {"program", "interpreter", "its own files", "library"}
    assert {name for name, outcome in done.items() if outcome.startswith("done")} == allowed, done


@pytest.mark.skipif(sys.platform != "linux" or not HEADER.exists() or not shutil.which("cc"), reason="compiles C")
def test_a_kernel_can_be_compiled_where_a_gpu_needs_that(scratch: Path, request_of: dict[str, Any]) -> None:
    answer = run_child(CHILD, {**request_of, "do": "compile", "compilers": True}, dict[str, Any], scratch, "cpu", 60)
    assert answer == {"done": "made"}


@pytest.mark.parametrize("act", ["subprocess", "shell", "fork", "exec", "posix_spawn", "multiprocessing", "terminal"])
def test_where_compilers_may_run_nothing_else_may(act: str, scratch: Path, request_of: dict[str, Any]) -> None:
    with pytest.raises(VerificationError, match="tried to start a process"):
        run_child(CHILD, {**request_of, "do": act, "compilers": True}, dict[str, Any], scratch, "cpu", 60)


@pytest.mark.parametrize("forged", ["[1]", "[" * 200_000, "nonsense", ""])
def test_an_answer_that_is_none_is_told(forged: str, scratch: Path) -> None:
    with pytest.raises(VerificationError, match=r"The child's answer can't be read: ."):
        run_child(CHILD, {"do": "forged", "answer": forged}, dict[str, Any], scratch, "cpu", 60)


def test_code_that_never_returns_is_stopped_in_time(scratch: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(VerificationError, match="did not finish within 2 seconds"):
        run_child(CHILD, {"do": "sleep", "given": []}, dict[str, Any], scratch, "cpu", 2)
    assert time.monotonic() - begun < 20
