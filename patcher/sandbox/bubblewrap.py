"""The levels of the sandbox, and the command line of bubblewrap, which is the sandbox wherever it runs.

https://github.com/containers/bubblewrap
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Literal

from patcher.errors import UsageError
from patcher.printable import one_line
from patcher.sandbox.access import GPU_DEVICES, AccessPolicy, below, child_policy, machine_entries

logger = logging.getLogger(__name__)

Level = Literal["bubblewrap", "hook", "none"]
LEVELS = ("auto", "bubblewrap", "hook", "none")

_ISOLATED = ("--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL")
_LINKED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")  # links into /usr on most systems
# Programs, libraries, and what these read of /etc. No keys, no passwords, no host names.
_SYSTEM = (
    "/usr", "/sys", "/nix/store", "/gnu/store", "/run/opengl-driver", "/opt/cuda", "/opt/rocm", "/etc/alternatives",
    "/etc/fonts", "/etc/group", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime",
    "/etc/nsswitch.conf", "/etc/os-release", "/etc/passwd", "/etc/OpenCL",
)  # fmt: skip


def choose_level(asked: str) -> Level:
    """The level that `auto` or the name of a level means on this machine.

    Where `auto` has to do without bubblewrap, a warning says so, once. Raises UsageError if bubblewrap was asked for
    and does not run.
    """
    if asked not in LEVELS:
        raise UsageError(f"{asked!r} is not a sandbox level.", f"Use one of {', '.join(LEVELS)}.")
    if asked == "hook" or asked == "none":
        return "hook" if asked == "hook" else "none"
    why = why_not()
    if why is None:
        return "bubblewrap"
    if asked == "bubblewrap":
        raise UsageError(f"bubblewrap does not run here: {why}.", _remedy())
    _warn(why)
    return "hook"


@cache
def _warn(why: str) -> None:
    logger.warning("Only Python code is confined, as bubblewrap does not run here (%s). %s", why, _remedy())


def _remedy() -> str:
    if sys.platform != "linux":
        return "Run it on Linux, in a virtual machine for example."
    if shutil.which("bwrap") is None:
        return "Install it: `apt-get install bubblewrap` or `dnf install bubblewrap`."
    return "Allow user namespaces here, which containers and some systems forbid, or run it in a virtual machine."


@cache
def why_not() -> str | None:
    """Why bubblewrap can't start Python on this machine; None if it can. Tried once, which takes some 30 ms."""
    if shutil.which("bwrap") is None:
        return "it is not installed" if sys.platform == "linux" else "it is for Linux"
    with tempfile.TemporaryDirectory(prefix="patcher-") as name:
        tried = [*command(child_policy(Path(name), []), Path(name), "cpu"), sys.executable, "-I", "-S", "-c", ""]
        try:
            done = subprocess.run(tried, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired) as error:
            return one_line(str(error))
    said = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
    return one_line(said[-1]) if done.returncode else None


def command(policy: AccessPolicy, scratch: Path, device: str) -> list[str]:
    """The words before those of a command that may read what the policy names, and write in `scratch` alone.

    Everything else does not exist for it: no home, no other process, no network, no terminal, and of the devices those
    of GPUs only unless `device` is "cpu".

    Root could write settings of the kernel in /proc, also without its capabilities, so what is there about the machine
    is read-only. The entries of its own processes are not: CUDA names its threads there and does not start otherwise.
    """
    words = [shutil.which("bwrap") or "bwrap", *_ISOLATED]
    for path in _LINKED:
        if os.path.islink(path):
            words += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            words += ["--ro-bind", path, path]
    for path in filter(os.path.exists, _SYSTEM):
        words += ["--ro-bind", path, path]
    words += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--dir", "/var/tmp"]
    for path in machine_entries():
        words += ["--ro-bind", path, path]
    for path in () if device == "cpu" else filter(os.path.exists, GPU_DEVICES):
        words += ["--dev-bind", path, path]
    bound = [*_LINKED, *_SYSTEM, "/proc", "/dev"]
    for path in sorted(policy.readable):  # a folder before its contents, which it brings along
        if not below(path, bound) and os.path.exists(path):
            bound.append(path)
            words += ["--ro-bind", os.path.realpath(path), path]
    return [*words, "--bind", str(scratch), str(scratch), "--remount-ro", "/", "--chdir", str(scratch), "--"]
