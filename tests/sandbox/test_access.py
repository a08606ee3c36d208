"""Which paths a policy allows, and what the policy of a child is made of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from patcher.sandbox import access
from patcher.sandbox.access import PRIVATE, AccessPolicy, child_policy, private_paths

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


def test_the_public_roots_hold_what_lies_beside_the_private_folders(tmp_path: Path) -> None:
    for name in ("kari", "ola", "kari/deeper"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "kari" / "token").touch()
    (tmp_path / "link").symlink_to(tmp_path / "kari")
    private = (str(tmp_path / "kari" / "deeper"), str(tmp_path / "kari"))
    roots = AccessPolicy(private, (), ()).public_roots()
    assert {str(tmp_path / "ola"), str(tmp_path / "file")} <= set(roots)
    hidden = {"/", str(tmp_path), *private, str(tmp_path / "kari" / "token"), str(tmp_path / "link")}
    assert not hidden & set(roots)


def test_the_contents_of_a_folder_that_holds_too_much_are_not_public(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("kari", "ola", "per"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(access, "_MAX_CHILDREN", 2)
    assert str(tmp_path / "ola") not in AccessPolicy((str(tmp_path / "kari"),), (), ()).public_roots()


def test_a_child_may_read_what_it_was_given_with_the_targets_of_its_links_and_write_in_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("home", "scratch", "model"):
        (tmp_path / name).mkdir()
    (tmp_path / "home" / "weights").touch()
    (tmp_path / "model" / "link").symlink_to(tmp_path / "home" / "weights")
    monkeypatch.setenv(PRIVATE, str(tmp_path / "home"))
    policy, root = child_policy(tmp_path / "scratch", [str(tmp_path / "model")]), os.path.realpath(tmp_path)
    assert policy.may_read(f"{root}/model/config.json") and not policy.may_write(f"{root}/model/config.json")
    assert policy.may_read(f"{root}/home/weights"), "the target of a link"
    assert not policy.may_read(f"{root}/home/token") and not policy.may_read(f"{root}/other/scratch")
    assert policy.may_write(f"{root}/scratch/answer.json")
    assert policy.may_write("/dev/null") and not policy.may_read(f"/proc/{os.getppid()}/environ")


def test_the_home_and_the_token_files_of_the_caller_are_private(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HOME", "/home/kari")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "~/secret/token")
    paths = private_paths().split(os.pathsep)
    assert {"/home/kari", "/home/kari/secret/token"} <= set(paths)
