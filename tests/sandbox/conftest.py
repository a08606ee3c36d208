"""A home with tokens, and a scratch folder for a child."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
