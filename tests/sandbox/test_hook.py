"""Model code that looks for secrets, the network, other processes or other people's files is stopped, by name."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import VerificationError
from tests.sandbox.acts import ACTS
from tests.sandbox.conftest import SECRET
from tests.sandbox.stand_in import run_child

CHILD = "tests.sandbox.acts"
HEADER = Path(sysconfig.get_path("include"), "Python.h")


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


@pytest.mark.skipif(sys.platform != "linux" or not HEADER.exists() or not shutil.which("cc"), reason="compiles C")
def test_a_kernel_can_be_compiled_where_a_gpu_needs_that(scratch: Path, request_of: dict[str, Any]) -> None:
    answer = run_child(CHILD, {**request_of, "do": "compile", "compilers": True}, dict[str, Any], scratch, "cpu", 60)
    assert answer == {"done": "made"}


@pytest.mark.parametrize("act", ["subprocess", "shell", "fork", "exec", "posix_spawn", "multiprocessing", "terminal"])
def test_where_compilers_may_run_nothing_else_may(act: str, scratch: Path, request_of: dict[str, Any]) -> None:
    with pytest.raises(VerificationError, match="tried to start a process"):
        run_child(CHILD, {**request_of, "do": act, "compilers": True}, dict[str, Any], scratch, "cpu", 60)
