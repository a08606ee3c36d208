"""A child's folder is gone at the end, whatever the child did to it, and a full disk is blamed on the right folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from patcher.sandbox.scratch import remove_folder, scratch_folder
from tests.conftest import MINI, may_mount


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
def test_a_folder_is_removed_however_deep_it_is(tmp_path: Path, depth: int) -> None:
    with scratch_folder(tmp_path) as folder:
        nest(folder, depth)
    assert list(tmp_path.iterdir()) == []
    remove_folder(folder)


def test_an_error_in_the_block_is_the_one_that_is_raised(tmp_path: Path) -> None:
    with pytest.raises(KeyError), scratch_folder(tmp_path) as folder:
        nest(folder, 3000)
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@may_mount
@pytest.mark.parametrize("size", ["4k", "16k", "140k"])
def test_a_full_folder_for_temporary_files_is_named_and_not_the_output(tmp_path: Path, size: str) -> None:
    (tmp_path / "small").mkdir()
    out, small = tmp_path / "out", tmp_path / "small"
    command = f"{sys.executable} -m patcher patch {MINI} --out {out} --trust-remote-code --device cpu -q"
    script = f"mount -t tmpfs -o size={size} tmpfs {small} && TMPDIR={small} exec {command}"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert f"left in {small}" in done.stderr and str(out) not in done.stderr
    assert "TMPDIR" in done.stderr.splitlines()[-1] and not out.exists()
