"""A child that gives an answer at once and does nothing, for tests of what a parent makes of answers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from patcher.sandbox import guard
from patcher.sandbox.guard import Child


def answer_with(monkeypatch: pytest.MonkeyPatch, content: object) -> None:
    """Let every child that is started from now on give this answer, as JSON."""

    def start(module: str, device: str, scratch: Path) -> Child:
        (scratch / "answer.json").write_text(json.dumps(content))
        process = subprocess.Popen(["true"], stdin=subprocess.PIPE, start_new_session=True)
        return Child(module, device, scratch, process)

    monkeypatch.setattr(guard, "_start", start)
