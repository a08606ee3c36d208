"""A folder that appears whole or not at all: built beside its place, then moved in."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from patcher.constants import CARD, DRAWN, RECORD, REPORT, TOOL
from patcher.errors import OutputError, from_os


@contextmanager
def whole(out: Path, record: str = RECORD) -> Iterator[Path]:
    """An empty folder beside `out` that takes its place in one step when the caller is done, and else is removed.

    An `out` that holds `record`, written by splade-patcher, is replaced. Raises OutputError for any other, and where
    `out` can't be written.
    """
    out = Path(os.path.abspath(out))
    check_output(out, record)
    stage = out.parent / f".{out.name}.{os.getpid()}.partial"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _sweep(out)
        stage.mkdir()
        yield stage
        check_output(out, record)  # somebody may have put something there meanwhile
        _swap(stage, out)
    except OSError as error:
        raise from_os(error, str(out)) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def check_output(out: Path, record: str = RECORD) -> None:
    """Refuse an output that is there and that is not wholly splade-patcher's, as `record` tells. Raises OutputError."""
    if not os.path.lexists(out) or (out.is_dir() and not out.is_symlink() and not any(out.iterdir())):
        return
    found: Any = None
    try:
        if not out.is_symlink():
            found = json.loads((out / record).read_text("utf-8"))
            ours = found["tool"]["name"] == TOOL
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found is None or not ours:
        raise OutputError(
            f"{out} exists and was not written by {TOOL}; it was left as it is.",
            "Choose another folder, or remove that one yourself.",
        )
    foreign = _foreign(out, found) if record == RECORD else []
    if foreign:
        raise OutputError(
            f"{out} also holds what {TOOL} did not write ({', '.join(foreign[:3])}); it was left as it is.",
            "Move that elsewhere, or choose another folder.",
        )


def _foreign(out: Path, record: Mapping[str, Any]) -> list[str]:
    """Files in a patched folder that its record does not know: notes, checkpoints, somebody's work."""
    known = {CARD, RECORD, REPORT, *DRAWN, *(str(file["path"]) for file in record["files"])}
    there = (path.relative_to(out) for path in sorted(out.rglob("*")) if path.is_file() or path.is_symlink())
    skipped = {".cache", "__pycache__"}
    return [path.as_posix() for path in there if path.as_posix() not in known and not skipped.intersection(path.parts)]


def _sweep(out: Path) -> None:
    """Remove what a killed run left: staging folders of processes that are no more."""
    for left in out.parent.glob(f".{out.name}.*.partial"):
        pid = left.name.split(".")[-2]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return pid != os.getpid()


def _swap(stage: Path, out: Path) -> None:
    """Put the new folder in place. An old one changes places with it in one step where the system can do that."""
    if not out.exists() or not any(out.iterdir()):
        os.replace(stage, out)
        return
    if not _exchange(stage, out):
        # Without an atomic exchange (macOS on some volumes, Windows) there is a moment with two complete folders
        # and neither at its place; the old one keeps a name that says what it is.
        aside = out.parent / f".{out.name}.{os.getpid()}.replaced"
        os.replace(out, aside)
        os.replace(stage, out)
        shutil.rmtree(aside, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step: renameat2 with RENAME_EXCHANGE, on macOS renamex_np."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if hasattr(libc, "renameat2"):
            at_cwd, exchange = -100, 2
            return bool(libc.renameat2(at_cwd, os.fsencode(one), at_cwd, os.fsencode(other), exchange) == 0)
        if hasattr(libc, "renamex_np"):
            return bool(libc.renamex_np(os.fsencode(one), os.fsencode(other), 2) == 0)
    except (OSError, TypeError):
        pass
    return False
