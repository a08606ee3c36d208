"""Output that is complete or absent: a folder or a file is written beside its final path, then renamed to it."""

from __future__ import annotations

import ctypes
import glob
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from patcher.constants import CARD, DRAWN, RECORD, REPORT, TOOL
from patcher.errors import OutputError, from_os
from patcher.hashing import sha256_of
from patcher.temporary import claimed, remove_abandoned


@contextmanager
def atomic_directory(out: Path, record: str = RECORD) -> Iterator[Path]:
    """An empty folder beside `out` that is renamed to `out` when the block ends, or removed if the block raises.

    An `out` that holds `record`, written by splade-patcher, is replaced. Raises OutputError for any other, and where
    `out` can't be written.
    """
    out = Path(os.path.abspath(out))
    check_output(out, record)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(out.parent.glob(f".{glob.escape(out.name)}.*.partial"))
        with claimed(lambda: _new_folder(out)) as stage:
            yield stage
            check_output(out, record)  # again: it may have changed since
            _move_into_place(stage, out)
    except OSError as error:
        raise from_os(error, str(out)) from error


def _new_folder(out: Path) -> Path:
    stage = out.parent / f".{out.name}.{token_hex(4)}.partial"
    stage.mkdir()
    return stage


def check_parent(out: Path) -> None:
    """Refuse an output below what is no folder, or below one that can't be written. Raises OutputError."""
    above = next((one for one in Path(os.path.abspath(out)).parents if os.path.lexists(one)), Path(os.sep))
    if not above.is_dir():
        raise OutputError(f"{out} can't be written: {above} is not a folder.", "Choose another path.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise OutputError(
            f"{out} can't be written: {above} is read-only.", "Choose another path, or change its permissions."
        )


def check_output(out: Path, record: str = RECORD) -> None:
    """Refuse an existing output unless `record` shows that splade-patcher wrote all of it. Raises OutputError."""
    check_parent(out)
    if is_mount(out):
        raise OutputError(
            f"{out} is a mount point, which can't be replaced by a folder.", f"Use a folder in it: {out / 'model'}."
        )
    if not os.path.lexists(out) or (out.is_dir() and not out.is_symlink() and not any(out.iterdir())):
        return
    try:
        found = json.loads((out / record).read_text("utf-8"))
        ours = not out.is_symlink() and found["tool"]["name"] == TOOL
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise OutputError(
            f"{out} exists and was not written by {TOOL}; it was left unchanged.",
            "Choose another folder, or remove that one yourself.",
        )
    foreign = unrecorded(out, [str(file["path"]) for file in found["files"]]) if record == RECORD else ()
    if foreign:
        raise OutputError(
            f"{out} also holds files that {TOOL} did not write ({', '.join(foreign[:3])}); it was left unchanged.",
            "Move them elsewhere, or choose another folder.",
        )


def is_mount(path: Path) -> bool:
    """Whether something is mounted there; `os.path.ismount` does not see a folder mounted from the same disk."""
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        mounts = []
    points = (line.split()[4].decode("unicode_escape").encode("latin-1") for line in mounts)
    return os.path.ismount(path) or os.fsencode(os.path.realpath(path)) in points


def unrecorded(folder: Path, recorded: Iterable[str]) -> tuple[str, ...]:
    """Files in a patched folder that its record does not list: notes, checkpoints, a user's own work."""
    known, skipped = {CARD, RECORD, REPORT, *DRAWN, *recorded}, {".cache", "__pycache__"}
    found = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file() or path.is_symlink())
    names = (path.as_posix() for path in found if not skipped.intersection(path.parts))
    return tuple(name for name in names if name not in known)


def hashes(folder: Path) -> dict[str, dict[str, str]]:
    """What a record says of the files of a folder: the SHA-256 of each, by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {"files": {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}}


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file beside `path` and rename it to `path`: a reader sees the old content or all of the new (UTF-8).

    The folder has to exist. Raises OSError where it can't be written, and leaves nothing behind.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _move_into_place(stage: Path, out: Path) -> None:
    """Rename the staging folder to `out`. An old `out` is exchanged with it atomically where the system can."""
    if not out.exists() or not any(out.iterdir()):
        os.replace(stage, out)
    elif not _exchange_atomically(stage, out):
        # Without an atomic exchange (macOS on some volumes, Windows) `out` is missing for a moment. Both folders are
        # complete then, and the name of the old one says what it is.
        backup = stage.with_suffix(".replaced")
        os.replace(out, backup)
        os.replace(stage, out)
        shutil.rmtree(backup, ignore_errors=True)


def _exchange_atomically(one: Path, other: Path) -> bool:
    """Exchange the names of two folders: renameat2 with RENAME_EXCHANGE, on macOS renamex_np. False if unsupported."""
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
