"""Landlock and seccomp restrict compiled code and programs, which no audit hook sees."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.stand_in import run_child

CHILD = "tests.sandbox.acts"


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
