"""A folder or a file is complete or absent, and nobody else's work is replaced."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from patcher.constants import RECORD, TOOL
from patcher.errors import OutputError
from patcher.patching.staging import atomic_directory, check_output, write_atomically
from patcher.patching.writer import staged_model
from patcher.source.snapshot import resolve
from tests.conftest import MINI, ROOT, may_mount, user_environment
from tests.patching.writing import is_whole, plan_of_mini, write


@pytest.mark.parametrize("kind", ["folder", "file", "other record", "link"])
def test_what_is_not_ours_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    elif kind == "link":
        (tmp_path / "elsewhere").mkdir()
        out.symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere" / "thesis.txt").write_text("mine")
    else:
        out.mkdir()
        (out / ("patch.json" if kind == "other record" else "thesis.txt")).write_text('{"tool": "mine"}')
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(OutputError, match="was not written by splade-patcher"):
        check_output(out)
    with pytest.raises(OutputError):
        write(out)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


@may_mount
@pytest.mark.parametrize("mount", ["-t tmpfs tmpfs {out}", "--bind {other} {out}"])
def test_a_mount_point_is_refused_before_anything_is_done(tmp_path: Path, mount: str) -> None:
    out, other = tmp_path / "o u\\t", tmp_path / "other"
    for folder in (out, other):
        folder.mkdir()
    place = mount.format(out=shlex.quote(str(out)), other=other)
    command = f"{sys.executable} -m patcher patch {MINI} --out {shlex.quote(str(out))} --no-verify"
    script = f"mount {place} && exec {command}"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 3 and "is a mount point" in done.stderr, done.stderr
    assert "Patching" not in done.stderr and "Use a folder in it" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("content", ["Blåbærsyltetøy\n", b"\x00\xff\r\n"])
def test_a_file_is_written_as_given_and_nothing_stays_beside_it(tmp_path: Path, content: str | bytes) -> None:
    (tmp_path / "file").write_text("old")
    write_atomically(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_can_not_be_written_keeps_its_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no room")

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no room"):
        write_atomically(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_of_ours_is_replaced_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out)
    (out / "model.safetensors").write_bytes(b"damaged")
    write(out)
    assert is_whole(out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("path", ["NOTES.txt", "checkpoints/step-1/model.safetensors"])
def test_a_folder_of_ours_with_somebody_s_work_in_it_is_refused(tmp_path: Path, path: str) -> None:
    out = tmp_path / "out"
    write(out)
    (out / path).parent.mkdir(parents=True, exist_ok=True)
    (out / path).write_text("mine")
    with pytest.raises(OutputError, match="also holds files that splade-patcher did not write"):
        write(out)
    assert (out / path).read_text() == "mine"


def test_what_somebody_puts_there_meanwhile_is_not_lost(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(OutputError), staged_model(plan_of_mini(), resolve(str(MINI)), out):
        out.mkdir()
        (out / "thesis.txt").write_text("mine")
    assert (out / "thesis.txt").read_text() == "mine"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert is_whole(write(tmp_path / "out").folder)


def test_a_failure_while_writing_leaves_the_old_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out)
    with pytest.raises(RuntimeError), staged_model(plan_of_mini(), resolve(str(MINI)), out) as model:
        (model.folder / "half").write_text("half")
        raise RuntimeError("in the middle")
    assert is_whole(out) and [path.name for path in tmp_path.iterdir()] == ["out"]


BLOCKED_COPY = """
import sys
from patcher.patching import writer
copy = writer.copy_hashed
def copy_and_wait(source, target):
    digest = copy(source, target)
    print("copied", flush=True)
    sys.stdin.read()
    return digest
writer.copy_hashed = copy_and_wait
from patcher.__main__ import main
main()
"""


def begin(out: Path, home: Path, *extra: str, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Start a patch that waits after copying one file, and return when it waits."""
    home.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [*before, sys.executable, "-c", BLOCKED_COPY, "patch", str(MINI), "--out", str(out), "--no-verify", *extra],
        cwd=ROOT,
        env=user_environment(home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "copied\n"
    return process


@pytest.mark.parametrize("old", [False, True], ids=["no folder before", "a folder before"])
def test_kill_9_in_the_middle_leaves_the_old_folder_or_none(tmp_path: Path, old: bool) -> None:
    out = tmp_path / "place" / "out"
    out.parent.mkdir()
    if old:
        write(out)
    process = begin(out, tmp_path / "home")
    process.kill()
    process.wait()
    assert is_whole(out) if old else not out.exists()
    assert any(path.name.endswith(".partial") for path in out.parent.iterdir()), "it was not hit in the middle"
    write(out)
    assert is_whole(out) and [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a process namespace")
def test_the_staging_folder_of_a_process_in_another_namespace_is_not_taken_for_a_dead_one(tmp_path: Path) -> None:
    """As in two containers that share a disk: its process id is nobody's here, or somebody else's."""
    out = tmp_path / "place" / "out"
    out.parent.mkdir()
    process = begin(out, tmp_path / "home", before=("unshare", "--pid", "--fork", "--kill-child"))
    [stage] = out.parent.iterdir()
    write(out)
    assert stage.is_dir() and is_whole(out)
    process.communicate(timeout=60)
    assert process.returncode == 0 and is_whole(out), "the other one came to its end too"
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_cleans_up_and_says_so(tmp_path: Path, number: int) -> None:
    out = tmp_path / "place" / "out"
    out.parent.mkdir()
    process = begin(out, tmp_path / "home")
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Interrupted; nothing was left half written." in stderr and "Traceback" not in stderr
    assert list(out.parent.iterdir()) == []


WATCHER = """
import os, sys, threading
ended = threading.Event()
threading.Thread(target=lambda: sys.stdin.read() or ended.set()).start()
print("watching", flush=True)
looks = gaps = 0
while not ended.is_set():
    looks, gaps = looks + 1, gaps + (not os.path.exists(sys.argv[1]))
print(looks, gaps)
"""


def test_the_exchange_of_two_folders_never_shows_a_gap(tmp_path: Path) -> None:
    """Somebody reads the folder all the time while it is replaced repeatedly."""
    out, record = tmp_path / "out", json.dumps({"tool": {"name": TOOL}, "files": []})

    def replace() -> None:
        with atomic_directory(out) as stage:
            (stage / RECORD).write_text(record)

    replace()
    command = [sys.executable, "-c", WATCHER, str(out / RECORD)]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert watcher.stdout is not None and watcher.stdout.readline() == "watching\n"
    for _ in range(500):
        replace()
    said, _ = watcher.communicate(timeout=30)
    looks, gaps = map(int, said.split())
    assert gaps == 0 and looks > 500
