"""A home with tokens, files of somebody else, and sockets that listen."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import pty
import resource
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import TCPStore

from patcher.sandbox.bubblewrap import why_not
from tests.sandbox.acts import ACTS, SECRET

SECRETS = (".cache/huggingface/token", ".netrc", ".git-credentials", ".ssh/id_rsa")
# What runs here; where bubblewrap does not, its tests say that they were skipped.
needs_bubblewrap = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
LEVELS = ["hook", pytest.param("bubblewrap", marks=needs_bubblewrap)]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@contextlib.contextmanager
def surroundings(folder: Path) -> Iterator[dict[str, Any]]:
    """What acts are about: a request that names it all."""
    home, outside, given = folder / "home", folder / "outside", folder / "model" / "config.json"
    for name in SECRETS:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(SECRET)
    for one in (outside, given.parent):
        one.mkdir()
    for act in ACTS:
        (outside / act.slug).write_text("whole")
        (outside / act.slug).chmod(0o600)
        os.utime(outside / act.slug, (1, 1))
    given.write_text("{}")
    ours, theirs = pty.openpty()
    add_key, keyctl = {"x86_64": (248, 250), "aarch64": (217, 219)}.get(platform.machine(), (-1, -1))
    ctypes.CDLL(None).syscall(add_key, b"user", b"patcher-test", b"secret", 6, -3)
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        other = subprocess.Popen(["sleep", "600"], start_new_session=True)
        opened.callback(other.wait)
        opened.callback(other.kill)
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        abstract = f"patcher-{os.getpid()}-{folder.name}"
        for address in (str(folder / "s"), f"\0{abstract}"):
            local = opened.enter_context(socket.socket(socket.AF_UNIX))
            local.bind(address)
            local.listen()
        yield {
            "home": str(home),
            "outside": str(outside),
            "port": server.getsockname()[1],
            "store": store.port,
            "unix": str(folder / "s"),
            "abstract": abstract,
            "terminal": os.ttyname(theirs),
            "parent": other.pid,
            "group": other.pid,
            "keyctl": keyctl,
            "given": [str(given)],
        }
        assert resource.prlimit(other.pid, resource.RLIMIT_NOFILE) != (64, 64)
    os.close(ours)
    os.close(theirs)


@pytest.fixture
def request_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    with surroundings(tmp_path) as request:
        monkeypatch.setenv("HOME", request["home"])
        monkeypatch.setenv("HF_TOKEN", SECRET)
        outside = Path(request["outside"])
        yield {**request, "victim": str(outside / ACTS[0].slug), "mark": str(outside / "mark")}


def reached_outside(outside: Path, slug: str) -> bool:
    """Whether an act changed its victim or left its mark. A mark in shared memory is removed."""
    victim, shared = outside / slug, Path("/dev/shm", f"{slug}.new")
    marks = [path for path in (outside / f"{slug}.new", shared) if path.exists()]
    shared.unlink(missing_ok=True)
    if marks or not victim.exists() or victim.read_text() != "whole":
        return True
    found = victim.stat()
    return (found.st_mode & 0o777, found.st_mtime, found.st_uid, found.st_nlink) != (0o600, 1, os.getuid(), 1)
