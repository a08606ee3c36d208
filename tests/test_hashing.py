"""A large file is read once for many runs, and again as soon as it may have changed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from patcher import hashing
from patcher.hashing import LARGE, copy_hashed, forget, git_blob_id, remember, sha256_of, sha256_of_all

FIRST, SECOND = b"a" * LARGE, b"b" * LARGE


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The names of the files that were read, in a memory of this test alone."""
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    read, names = hashing._read, []

    def recorded(file: object, *words: object) -> str:
        names.append(Path(file.name).name)  # type: ignore[attr-defined]
        return read(file, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(hashing, "_read", recorded)
    return names


@pytest.fixture
def weights(tmp_path: Path, reads: list[str]) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(FIRST)
    return path


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def restore_times(path: Path, content: bytes) -> None:
    """Write in place and set mtime back, as `cp --preserve` and `touch` can; nothing sets ctime back."""
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace(path: Path, content: bytes) -> None:
    other = path.with_name("other")
    other.write_bytes(content)
    other.replace(path)


def damage_memory(text: str) -> Callable[[Path, bytes], None]:
    def damage(path: Path, _: bytes) -> None:
        hashing._memory().write_text(text)

    return damage


def share_memory(*_: object) -> None:
    hashing._memory().chmod(0o666)


def test_a_large_file_is_read_once_also_by_another_process(weights: Path, reads: list[str]) -> None:
    assert sha256_of(weights) == sha256_of(weights) == digest(FIRST)
    assert reads == ["weights"]
    code = (
        f"from patcher import hashing; hashing._read = None; print(hashing.sha256_of(hashing.Path({str(weights)!r})))"
    )
    environment = {**os.environ, "HF_ASSETS_CACHE": constants.HF_ASSETS_CACHE}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest(FIRST)


@pytest.mark.parametrize("change", [Path.write_bytes, restore_times, replace])
def test_a_changed_file_is_read_again(weights: Path, change: Callable[[Path, bytes], object]) -> None:
    """At once, as well: the second content comes within the same tick of the clock or long after it."""
    for content in (SECOND, FIRST, SECOND):
        sha256_of(weights)
        change(weights, content)
        assert sha256_of(weights) == digest(content)


@pytest.mark.parametrize(
    "spoil", [lambda *_: forget(), damage_memory("{"), damage_memory("[1]"), damage_memory('{"a": "b"}'), share_memory]
)
def test_without_a_memory_that_can_be_trusted_a_file_is_read_again(
    weights: Path, reads: list[str], spoil: Callable[[Path, bytes], None]
) -> None:
    sha256_of(weights)
    spoil(weights, b"")
    assert sha256_of(weights) == digest(FIRST) and reads == ["weights"] * 2


def test_a_file_from_the_future_is_not_remembered(weights: Path, reads: list[str]) -> None:
    os.utime(weights, (time.time() + 3600,) * 2)
    assert sha256_of(weights) == sha256_of(weights) and len(reads) == 2


def test_a_file_that_changes_while_it_is_read_is_not_remembered(weights: Path, reads: list[str]) -> None:
    with weights.open("rb") as file:
        hashing._read(file, lambda block: weights.write_bytes(SECOND))
    assert sha256_of(weights) == digest(SECOND)


@pytest.mark.parametrize(
    ("age", "digits", "lasting"),
    [(1.0, 123, True), (0.01, 123, True), (-1.0, 123, False), (1.0, 0, False), (3.0, 0, True)],
    ids=["old enough", "in milliseconds", "in the future", "coarse clock, recent", "coarse clock, old"],
)
def test_a_change_shows_only_after_a_tick_of_the_clock(age: float, digits: int, lasting: bool) -> None:
    changed = time.time_ns() - int(age * 1e9)
    changed += digits - changed % 1_000_000
    status = SimpleNamespace(st_mtime_ns=changed, st_ctime_ns=changed)
    assert hashing._outlast(status) is lasting  # type: ignore[arg-type]
    assert not lasting or time.time_ns() > changed + 50_000_000


def test_a_copy_is_read_once_and_both_files_are_remembered(weights: Path, reads: list[str]) -> None:
    target = weights.with_name("copy")
    assert copy_hashed(weights, target) == digest(FIRST)
    remember({target: digest(FIRST)})
    assert [*sha256_of_all([target, weights])] == [digest(FIRST)] * 2
    assert target.read_bytes() == FIRST and reads == ["weights"]


def test_small_files_are_not_remembered(weights: Path, reads: list[str]) -> None:
    weights.write_bytes(b"small")
    assert sha256_of(weights) == sha256_of(weights) == digest(b"small") == sha256_of(b"small")
    assert len(reads) == 2 and not hashing._memory().exists()


def test_the_memory_is_bounded_and_keeps_the_newest(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "MAX_REMEMBERED", 5)
    for number in range(10):
        hashing._save({f"{number}": f"{number}" * 64})
    assert list(json.loads(hashing._memory().read_text())) == ["5", "6", "7", "8", "9"]
    assert [path.name for path in hashing._memory().parent.iterdir()] == ["hashes.json"]


def test_a_memory_that_can_not_be_written_changes_nothing_else(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "assets").write_text("a file where a folder should be")
    assert sha256_of(weights) == digest(FIRST)


def test_the_id_that_git_gives(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"what is up, doc?")  # the example of Pro Git, 10.2
    assert (
        git_blob_id(tmp_path / "file") == git_blob_id(b"what is up, doc?") == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"
    )
