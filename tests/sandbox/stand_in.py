"""Children in a folder that a test chooses, or that give an answer at once and do nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import pytest

from patcher.sandbox import guard
from patcher.sandbox.bubblewrap import Level, choose_level
from patcher.sandbox.guard import Child

T = TypeVar("T")


def run_child(
    module: str,
    request: object,
    answer: type[T],
    scratch: Path,
    device: str,
    timeout: float,
    readable: Iterable[Path] = (),
    sandbox: str = "auto",
) -> T:
    """Start a child in an existing folder, which stays, and return its answer."""
    child = guard._start(module, device, scratch, readable, choose_level(sandbox))
    return guard.ask(child, request, answer, timeout)


def answer_with(monkeypatch: pytest.MonkeyPatch, content: object) -> None:
    """Let every child that is started from now on give this answer, as JSON."""

    def start(
        module: str, device: str, scratch: Path, readable: Iterable[Path], level: Level, python: Path | None = None
    ) -> Child:
        (scratch / "answer.json").write_text(json.dumps(content))
        process = subprocess.Popen(["true"], stdin=subprocess.PIPE, start_new_session=True)
        return Child(device, scratch, process)

    monkeypatch.setattr(guard, "_start", start)
