"""A folder that a running process claims is nobody else's to remove; one that nobody claims is removed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from patcher import temporary
from patcher.temporary import claimed, remove_abandoned, remove_tree
from tests.conftest import MINI, ROOT, may_mount

CLAIM = """
import sys
from pathlib import Path
from patcher.temporary import claimed
def make():
    Path(sys.argv[1]).mkdir()
    return Path(sys.argv[1])
with claimed(make):
    print("claimed", flush=True)
    sys.stdin.read()
"""


def claim(folder: Path, *before: str) -> subprocess.Popen[str]:
    """A process that claims a folder until it ends."""
    process = subprocess.Popen(
        [*before, sys.executable, "-c", CLAIM, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "claimed\n"
    return process


def maker(parent: Path) -> Callable[[], Path]:
    """Makes the folder `a`."""

    def make() -> Path:
        (parent / "a").mkdir()
        return parent / "a"

    return make


def test_a_folder_is_claimed_until_its_process_ends_however_it_ends(tmp_path: Path) -> None:
    process = claim(tmp_path / "a")
    remove_abandoned([tmp_path / "a"])
    assert (tmp_path / "a").exists()
    process.kill()
    process.wait()
    remove_abandoned([tmp_path / "a"])
    assert not (tmp_path / "a").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="makes a process namespace")
def test_a_process_of_another_namespace_keeps_its_folder(tmp_path: Path) -> None:
    """There it may have an id that is nobody's here."""
    process = claim(tmp_path / "a", "unshare", "--pid", "--fork", "--kill-child")
    remove_abandoned([tmp_path / "a"])
    assert (tmp_path / "a").exists()
    process.kill()
    process.wait()


def test_at_its_end_a_folder_is_removed_unless_it_was_renamed(tmp_path: Path) -> None:
    for renamed in (False, True):
        with claimed(maker(tmp_path)) as folder:
            if renamed:
                folder.rename(tmp_path / "b")
        assert not folder.exists() and (tmp_path / "b").exists() is renamed


def test_a_folder_that_was_removed_before_it_was_claimed_is_made_again(tmp_path: Path) -> None:
    made: list[Path] = []

    def make() -> Path:
        made.append(tmp_path / str(len(made)))
        if len(made) == 2:
            made[-1].mkdir()
        return made[-1]

    with claimed(make) as folder:
        assert folder == tmp_path / "1" and len(made) == 2


def test_a_folder_that_another_process_removed_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took the new folder for an abandoned one, and held the lock until it was gone."""
    real, taken = temporary._lock, []

    def lock(folder: Path, *, wait: bool) -> int | None:
        held = real(folder, wait=wait)
        if not taken:
            taken.append(folder)
            folder.rmdir()
        return held

    monkeypatch.setattr(temporary, "_lock", lock)
    with claimed(maker(tmp_path)) as folder:
        assert folder.exists() and taken == [folder]


def test_young_folders_links_and_those_of_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("young", "old", "target"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.utime(tmp_path / "old", (0, 0))
    remove_abandoned(tmp_path.iterdir(), older_than=3600)
    assert {path.name for path in tmp_path.iterdir()} == {"young", "target", "link"}
    remove_abandoned([tmp_path / "link"])
    assert (tmp_path / "target").exists()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    remove_abandoned([tmp_path / "young"])
    assert (tmp_path / "young").exists()


def test_a_disk_that_can_not_lock_keeps_its_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary, "_lock", lambda *_, **__: None)
    (tmp_path / "b").mkdir()
    with claimed(maker(tmp_path)) as folder:
        remove_abandoned([folder, tmp_path / "b"])
        assert folder.exists() and (tmp_path / "b").exists()
    assert not folder.exists()


def new(parent: Path) -> Path:
    """A new folder."""
    folder = parent / "new"
    folder.mkdir()
    return folder


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Path]:
    """A folder that is removed even if the test fails: pytest itself can't remove what is nested so deep."""
    yield tmp_path
    subprocess.run(["rm", "-rf", "--", str(tmp_path)], check=True)


def nest(folder: Path, depth: int) -> None:
    """Nest folders deeper than a path can be long."""
    at = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("folder", dir_fd=at)
        inner = os.open("folder", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=at))
    os.close(at)


@pytest.mark.parametrize("depth", [0, 1, 3000])
def test_a_folder_is_removed_however_deep_it_is(parent: Path, depth: int) -> None:
    with claimed(lambda: new(parent)) as folder:
        nest(folder, depth)
    assert list(parent.iterdir()) == []
    remove_tree(folder)


def test_an_error_in_the_block_is_the_one_that_is_raised(parent: Path) -> None:
    with pytest.raises(KeyError), claimed(lambda: new(parent)) as folder:
        nest(folder, 3000)
        raise KeyError
    assert list(parent.iterdir()) == []


@may_mount
@pytest.mark.parametrize("size", ["4k", "16k", "140k"])
def test_a_full_folder_for_temporary_files_is_named_and_not_the_output(tmp_path: Path, size: str) -> None:
    (tmp_path / "small").mkdir()
    out, small = tmp_path / "out", tmp_path / "small"
    command = f"{sys.executable} -m patcher patch {MINI} --out {out} --trust-remote-code --device cpu -q"
    script = f"mount -t tmpfs -o size={size} tmpfs {small} && TMPDIR={small} exec {command}"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 3 and "Traceback" not in done.stderr, done.stderr
    assert f"left in {small}" in done.stderr and str(out) not in done.stderr
    assert "TMPDIR" in done.stderr.splitlines()[-1] and not out.exists()
