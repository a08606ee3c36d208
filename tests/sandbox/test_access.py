"""Which paths a policy allows, and what the policy of a child is made of."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from patcher.errors import UsageError
from patcher.sandbox.access import AccessPolicy, child_policy
from tests.conftest import ROOT

POLICY = AccessPolicy(private=("/home/kari",), readable=("/home/kari/model",), writable=("/home/kari/scratch",))


@pytest.mark.parametrize(
    ("path", "read", "write"),
    [
        ("/usr/lib/a.so", True, False),
        ("/home/kari", False, False),
        ("/home/kari/.netrc", False, False),
        ("/home/karianne/.netrc", True, False),
        ("/home/kari/model", True, False),
        ("/home/kari/model/config.json", True, False),
        ("/home/kari/model-2/config.json", False, False),
        ("/home/kari/scratch/a", True, True),
    ],
)
def test_private_is_what_is_neither_readable_nor_writable(path: str, read: bool, write: bool) -> None:
    assert (POLICY.may_read(path), POLICY.may_write(path)) == (read, write)


def test_a_root_covers_everything() -> None:
    assert not AccessPolicy(("/",), (), ()).may_read("/etc/passwd")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("home", "scratch", "home/model"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return Path(os.path.realpath(tmp_path / "home"))


def test_a_child_may_read_what_it_was_given_with_the_targets_of_its_links_and_write_in_its_own_folder(
    home: Path,
) -> None:
    (home / "blobs").mkdir()
    for name, target in (("link", "blobs/weights"), ("stolen", ".netrc")):
        (home / target).touch()
        (home / "model" / name).symlink_to(home / target)
    policy = child_policy(home.parent / "scratch", [home / "model"])
    assert policy.may_read(f"{home}/model/config.json") and not policy.may_write(f"{home}/model/config.json")
    assert policy.may_read(f"{home}/blobs/weights"), "the target of a link"
    assert not policy.may_read(f"{home}/.netrc"), "a folder that was downloaded may link to anything"
    assert not policy.may_read(f"{home}/token") and not policy.may_read(f"{home.parent}/other/scratch")
    assert policy.may_write(f"{home.parent}/scratch/answer.json") and policy.may_write("/dev/null")
    for private in ("/dev/kmsg", "/dev/pts/0", "/dev/shm/a", f"/proc/{os.getpid()}/environ", "/run/docker.sock"):
        assert not policy.may_read(private), private


def test_the_home_the_token_files_and_other_models_are_private(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "~/../secret/token")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "/data/hub")
    private = child_policy(home.parent / "scratch", []).private
    assert {str(home), str(home.parent / "secret" / "token"), "/data/hub"} <= set(private)


@pytest.mark.parametrize("given", ["home", ".", "home/.."])
def test_a_folder_with_the_home_in_it_is_refused(home: Path, given: str) -> None:
    with pytest.raises(UsageError, match="which the model's code must not read"):
        child_policy(home.parent / "scratch", [home.parent / given])


def test_what_python_needs_is_readable_but_no_folder_that_holds_the_home(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home.parent / "mine").mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(home.parent / "mine"), str(home), str(home.parent)]))
    monkeypatch.setattr(sys, "path", [str(home / "scripts"), *sys.path])
    policy = child_policy(home.parent / "scratch", [])
    assert {str(ROOT / "patcher"), os.path.realpath(sys.prefix), str(home.parent / "mine")} <= set(policy.readable)
    assert not policy.may_read(f"{home}/.netrc") and not policy.may_read(f"{home}/scripts/a.py")


def test_a_program_that_is_a_link_to_a_link_is_readable(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for link, target in (("python", "between"), ("between", sys.executable)):
        (home.parent / link).symlink_to(target)
    monkeypatch.setattr(sys, "executable", str(home.parent / "python"))
    assert str(home.parent / "between") in child_policy(home.parent / "scratch", []).readable


def test_each_step_of_a_link_to_a_link_is_given_as_in_the_cache_of_the_hub(home: Path) -> None:
    """A snapshot links to the blobs of its repository, and these link to blobs that repositories share."""
    for name in ("blobs/68", "hub/blobs"):
        (home / name).mkdir(parents=True)
    (home / "blobs/68/weights").touch()
    (home / "hub/blobs/weights").symlink_to("../../blobs/68/weights")
    (home / "model/weights").symlink_to("../hub/blobs/weights")
    (home / "model/loop").symlink_to("loop")
    policy = child_policy(home.parent / "scratch", [home / "model"])
    assert policy.may_read(f"{home}/hub/blobs/weights") and policy.may_read(f"{home}/blobs/68/weights")
