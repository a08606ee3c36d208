"""Which level a machine gets, what it says about that, and what bubblewrap shows and hides."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from patcher.errors import UsageError
from patcher.sandbox import bubblewrap
from patcher.sandbox.access import AccessPolicy, child_policy
from patcher.sandbox.bubblewrap import choose_level, command, why_not
from tests.sandbox.conftest import needs_bubblewrap


def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A bwrap of another kind comes first in PATH; what was found out about the real one is forgotten."""
    (folder / "bwrap").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(bubblewrap, "why_not", why_not.__wrapped__)
    bubblewrap._warn.cache_clear()


def test_where_it_does_not_run_auto_takes_the_hook_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake(tmp_path, monkeypatch, "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1")
    with caplog.at_level(logging.WARNING, "patcher"):
        assert [choose_level("auto"), choose_level("auto")] == ["hook", "hook"]
    [said] = caplog.messages
    assert "uid map: Permission denied" in said and "Allow user namespaces here" in said
    with pytest.raises(UsageError, match="bubblewrap does not run here: bwrap: setting up uid map") as caught:
        choose_level("bubblewrap")
    assert "Allow user namespaces here" in caught.value.hint


@pytest.mark.parametrize(
    ("system", "why", "remedy"),
    [
        ("linux", "it is not installed", "Install it: `apt-get install bubblewrap` or `dnf install bubblewrap`."),
        ("darwin", "it is for Linux", "Run it on Linux, in a virtual machine for example."),
    ],
)
def test_where_it_is_missing_the_remedy_is_that_of_the_system(
    monkeypatch: pytest.MonkeyPatch, system: str, why: str, remedy: str
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(bubblewrap, "why_not", why_not.__wrapped__)
    with pytest.raises(UsageError, match=f"bubblewrap does not run here: {why}") as caught:
        choose_level("bubblewrap")
    assert caught.value.hint == remedy


def test_a_level_is_taken_as_it_is_named() -> None:
    assert [choose_level("hook"), choose_level("none")] == ["hook", "none"]
    with pytest.raises(UsageError, match="'seccomp' is not a sandbox level"):
        choose_level("seccomp")


@needs_bubblewrap
def test_where_it_runs_it_is_the_sandbox() -> None:
    assert choose_level("auto") == choose_level("bubblewrap") == "bubblewrap"


def shown(folder: Path, words: list[str], *readable: Path, device: str = "cpu") -> subprocess.CompletedProcess[str]:
    """What a command says inside."""
    (folder / "scratch").mkdir(exist_ok=True)
    scratch = folder / "scratch"
    wrapped = [*command(child_policy(scratch, readable), scratch, device), *words]
    return subprocess.run(wrapped, stdin=subprocess.DEVNULL, capture_output=True, text=True)


@needs_bubblewrap
def test_it_shows_what_was_given_and_what_comes_into_it_later(tmp_path: Path) -> None:
    for name in ("given", "blobs", "secrets"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("blob")
    (tmp_path / "given" / "link").symlink_to("../blobs/file")
    (tmp_path / "given" / "bad").symlink_to("../secrets/file")
    given = tmp_path / "given"
    wait = ["sh", "-c", f"cat {given}/link {given}/bad; touch started; while [ ! -e {given}/new ]; do :; done"]
    (tmp_path / "scratch").mkdir()
    words = command(child_policy(tmp_path / "scratch", [tmp_path / "given"]), tmp_path / "scratch", "cpu")
    process = subprocess.Popen([*words, *wait], stdout=subprocess.PIPE, text=True)
    while not (tmp_path / "scratch" / "started").exists():
        assert process.poll() is None
    (tmp_path / "given" / "new").touch()
    assert process.communicate(timeout=30)[0] == "blob" and process.returncode == 0


@needs_bubblewrap
@pytest.mark.parametrize("folder", ["given", "/", "/usr", "/etc", "/proc/sys", "/dev/shm/../../sys"])
def test_it_lets_nothing_be_written_but_the_scratch_folder(tmp_path: Path, folder: str) -> None:
    (tmp_path / "given").mkdir()
    target = tmp_path / folder / "new"
    assert shown(tmp_path, ["touch", "mine"], tmp_path / "given").returncode == 0
    assert shown(tmp_path, ["touch", str(target)], tmp_path / "given").returncode != 0
    assert not target.exists() and (tmp_path / "scratch" / "mine").exists()


WRITABLE = """
import os, threading
for folder, names, files in os.walk("/proc"):
    names[:] = [name for name in names if folder != "/proc" or not name.isdigit()]
    for name in files:
        path = os.path.join(folder, name)
        if not os.path.islink(path) and os.access(path, os.W_OK):
            print(path)
own = open(f"/proc/self/task/{threading.get_native_id()}/comm", "w")
own.write("named")
"""


@needs_bubblewrap
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_it_writes_nothing_about_the_machine_but_names_its_threads_as_cuda_does(tmp_path: Path, device: str) -> None:
    done = shown(tmp_path, [sys.executable, "-I", "-S", "-c", WRITABLE], device=device)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_bubblewrap
def test_it_hides_everything_else(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for path in (tmp_path / "other", Path.home(), Path("/etc/shadow"), Path("/root"), Path("/var/lib"), Path("/run")):
        assert shown(tmp_path, ["ls", str(path)]).stdout == "", path
    assert shown(tmp_path, ["cat", "/proc/1/comm"]).stdout == "bwrap\n", "no other process"
    assert "kmsg" not in shown(tmp_path, ["ls", "/dev"]).stdout
    assert shown(tmp_path, ["sh", "-c", "grep -c : /proc/net/dev"]).stdout == "1\n", "the loopback alone"
    assert "CapEff:\t0000000000000000" in shown(tmp_path, ["cat", "/proc/self/status"]).stdout


@needs_bubblewrap
def test_a_gpu_is_there_only_for_a_device_that_may_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "GPU_DEVICES", ("/dev/kmsg",))  # no machine of the tests has to have a GPU
    assert shown(tmp_path, ["ls", "/dev/kmsg"], device="cuda").returncode == 0
    assert shown(tmp_path, ["ls", "/dev/kmsg"]).returncode != 0


@needs_bubblewrap
@pytest.mark.skipif(os.geteuid() != 0, reason="changes its user")
def test_it_runs_for_an_ordinary_user(tmp_path: Path) -> None:
    """The tests themselves run as one on most machines; where they run as root, this one does not."""
    given, scratch = tmp_path / "given", tmp_path / "scratch"
    for folder in (given, scratch):
        folder.mkdir()
        os.chown(folder, 65534, 65534)
    for parent in (one for one in (tmp_path, *tmp_path.parents) if one.stat().st_mode & 0o777 == 0o700):
        parent.chmod(0o755)
    words = command(AccessPolicy((), (str(given),), (str(scratch),)), scratch, "cpu")
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    tried = [*user, *words, "sh", "-c", f"touch mine; touch {given}/new || id -u"]
    assert subprocess.run(tried, capture_output=True, text=True).stdout == "65534\n"
    assert (scratch / "mine").exists() and not (given / "new").exists()
