"""Weights are shared with the source where they can't be changed through the patched folder, and copied elsewhere."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from patcher.errors import VerificationError
from patcher.hashing import sha256_of
from patcher.patching.record import load
from patcher.patching.sharing import AUTO, COPY, HARD_LINK, LINK, REFLINK, SYMLINK, share
from patcher.patching.writer import staged_model
from patcher.source.snapshot import Snapshot, resolve
from patcher.verify.settings import Verification
from patcher.verify.verification import verify
from tests.conftest import COMMIT, MINI, Run
from tests.patching.writing import is_whole, plan_of_mini

WEIGHTS = "model.safetensors"
linux = pytest.mark.skipif(sys.platform != "linux", reason="a process of an ordinary user, as Linux knows them")


@pytest.fixture
def blob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights of the miniature as the Hub's client keeps them in a cache: a snapshot links to them."""
    cache = tmp_path / "home" / "hf" / "hub"
    snapshot = shutil.copytree(MINI, cache / "models--ltg--norbert4-base" / "snapshots" / COMMIT)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(COMMIT)
    blob = snapshot.parents[1] / "blobs" / sha256_of(MINI / WEIGHTS)
    blob.parent.mkdir()
    (snapshot / WEIGHTS).rename(blob)
    (snapshot / WEIGHTS).symlink_to(os.path.relpath(blob, snapshot))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return blob


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """transformers keeps remote code by the folder's name, so that has to be another one for each test."""
    return tmp_path / "place" / f"splade-{tmp_path.name}"


def source_of(blob: Path) -> Snapshot:
    return resolve(str(blob.parents[1] / "snapshots" / COMMIT))


def write(blob: Path, out: Path, storage: str) -> str | None:
    """Write the patched folder and return how its weights are stored."""
    with staged_model(plan_of_mini(), source_of(blob), out, storage=storage) as model:
        return model.weights[0].storage


def as_user(do: Callable[[], object]) -> int:
    """Do something in a process without the privileges of root, and return how that ended, as `waitpid` does.

    It owns the same files, so it is to them what an ordinary user is to his own.
    """
    child = os.fork()
    if child == 0:
        try:
            version = 0x20080522
            header, no_capabilities = (ctypes.c_uint32 * 2)(version, 0), (ctypes.c_uint32 * 6)()
            assert ctypes.CDLL(None).capset(header, no_capabilities) == 0
            do()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def train_and_save(folder: Path) -> None:
    """One step of training, saved over the model."""
    import torch
    from transformers import AutoModelForMaskedLM

    model = AutoModelForMaskedLM.from_pretrained(folder, trust_remote_code=True)
    ids = torch.tensor([[1, 5, 6, 2]])
    model(input_ids=ids, labels=ids).loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    model.save_pretrained(folder)


@linux
@pytest.mark.parametrize(("asked", "kinds"), [(LINK, {SYMLINK}), (AUTO, {HARD_LINK, REFLINK})])
def test_training_on_a_folder_and_saving_over_it_leaves_the_cache_as_it_was(
    blob: Path, out: Path, asked: str, kinds: set[str]
) -> None:
    assert as_user(lambda: write(blob, out, asked)) == 0
    [weights] = load(out).weights
    assert weights.storage in kinds and (out / WEIGHTS).is_symlink() is (weights.storage == SYMLINK)
    assert (out / WEIGHTS).samefile(blob) is (weights.storage != REFLINK)
    train_and_save(out)
    assert sha256_of(out / WEIGHTS) != sha256_of(blob) == blob.name
    shutil.rmtree(out)
    assert sha256_of(blob) == blob.name


@linux
@pytest.mark.parametrize("asked", [AUTO, LINK, COPY])
def test_a_user_can_not_change_the_cache_through_the_folder(blob: Path, out: Path, asked: str) -> None:
    """Not even by writing into a file in place, as safetensors before 0.8 does; a copy may be changed."""

    def write_in_place() -> None:
        storage = write(blob, out, asked)
        for mode in ("r+b", "wb", "ab"):
            try:
                with (out / WEIGHTS).open(mode) as file:
                    file.write(b"x" * 100)
            except PermissionError:
                assert storage in {HARD_LINK, SYMLINK}
            else:
                assert storage in {COPY, REFLINK}

    assert as_user(write_in_place) == 0
    assert sha256_of(blob) == blob.name


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="as root")
def test_root_gets_no_hard_link_and_the_cache_keeps_its_permissions(blob: Path, out: Path) -> None:
    """Root may write into every file, whatever its permissions say."""
    mode = blob.stat().st_mode
    assert write(blob, out, AUTO) in {COPY, REFLINK} and blob.stat().st_mode == mode
    (out / WEIGHTS).write_bytes(b"other")
    assert sha256_of(blob) == blob.name


@linux
@pytest.mark.parametrize(("mode", "storage"), [(0o644, COPY), (0o444, HARD_LINK)])
def test_a_file_of_an_ordinary_folder_is_linked_only_if_it_is_read_only(
    mini: Path, out: Path, mode: int, storage: str
) -> None:
    (mini / WEIGHTS).chmod(mode)

    def check() -> None:
        with staged_model(plan_of_mini(), resolve(str(mini)), out) as model:
            assert model.weights[0].storage in {storage, REFLINK}

    assert as_user(check) == 0
    assert (mini / WEIGHTS).stat().st_mode & 0o777 == mode


def test_a_clone_has_a_content_of_its_own(tmp_path: Path) -> None:
    source, target = shutil.copyfile(MINI / WEIGHTS, tmp_path / WEIGHTS), tmp_path / "clone"
    if share(source, target) != REFLINK:
        assert not target.exists()
        pytest.skip("the file system of the temporary folder makes no clones (FICLONE)")
    assert sha256_of(target) == sha256_of(source) and not target.samefile(source)
    target.write_bytes(b"other")
    assert sha256_of(source) == sha256_of(MINI / WEIGHTS)


@linux
def test_another_file_system_gets_a_copy(blob: Path) -> None:
    def check() -> None:
        mode = blob.stat().st_mode
        assert share(blob, Path("/dev/shm") / f"patcher-{os.getpid()}") is None
        assert blob.stat().st_mode == mode

    assert as_user(check) == 0


def test_only_weights_are_shared(blob: Path, out: Path) -> None:
    """`save_pretrained` writes configuration and tokenizer in place."""
    write(blob, out, LINK)
    assert [path.name for path in out.iterdir() if path.is_symlink()] == [WEIGHTS]
    assert {file.path for file in load(out).files if file.storage} == {WEIGHTS}


def test_what_is_linked_takes_no_room(blob: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage("/")._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    assert write(blob, out, LINK) == SYMLINK


def test_a_link_to_weights_that_are_gone_is_told_before_anything_runs(blob: Path, out: Path) -> None:
    """That linked weights are verified and published, tests/benchmarks/test_each_byte.py shows."""
    write(blob, out, LINK)
    blob.unlink()
    with pytest.raises(VerificationError, match=f"{WEIGHTS} is a link to {blob}, which is gone"):
        verify(load(out), Verification(texts=()))


def test_links_and_copies_exclude_each_other(cli: Run, tmp_path: Path) -> None:
    done = cli("patch", MINI, "--out", tmp_path / "out", "--link", "--copy")
    assert done.returncode == 2 and "can't be combined" in done.stderr


KILLED_IN = {
    "patcher.patching.writer.sha256_of": "nothing is hashed yet",
    "patcher.patching.writer.copy_hashed": "files are copied",
    "patcher.patching.writer.remember": "nothing is remembered",
    "patcher.patching.writer.write_atomically": "there is no record",
    "patcher.patching.staging._move_into_place": "only the name is wrong",
}


@linux
@pytest.mark.parametrize("asked", [AUTO, LINK, COPY])
def test_killed_at_any_moment_the_source_is_what_it_was_and_the_folder_whole_or_absent(
    blob: Path, out: Path, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in KILLED_IN:

        def patch_until(place: str = place) -> None:
            monkeypatch.setattr(place, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            write(blob, out, asked)

        assert os.WTERMSIG(as_user(patch_until)) == signal.SIGKILL, place
        assert not out.exists() and any(out.parent.iterdir()) and sha256_of(blob) == blob.name, place
    assert as_user(lambda: write(blob, out, asked)) == 0
    assert is_whole(out) and [path.name for path in out.parent.iterdir()] == [out.name]
    assert sha256_of(out / WEIGHTS) == sha256_of(blob) == blob.name
