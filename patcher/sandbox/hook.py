"""Watches the model's Python code: denies what no model needs, and ends the child if it reaches for others' files.

Python calls an audit hook before such actions (PEP 578), and a hook can't be removed. It sees what Python code does,
not what compiled code or another program does. So it confines nobody who is determined: bubblewrap does. Inside of
that, where compiled code and programs harm nobody, the hook lets them run and reports the rest.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from patcher.sandbox.access import AccessPolicy
from patcher.sandbox.child import LEVEL, POLICY

REFUSED = 77  # exit code of a child that was ended here
NOTE = "attempts.txt"  # what the child tried, in the scratch folder, one attempt on a line
ENDED = "! "  # begins the line of the attempt that ended it
FILE_SIZE = 1 << 28  # largest size of a written file in bytes
_MAX_ATTEMPTS = 100

# What models of this family or their loaders import. Some of these start processes or look for system libraries when
# they are imported, which is not the model's doing.
LIBRARIES = ("flash_attn", "requests", "transformers.modeling_utils", "transformers.initialization")

_NETWORK = {
    "socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname",
    "socket.gethostbyaddr", "socket.getnameinfo", "syslog.openlog", "syslog.syslog",
}  # fmt: skip
_PROCESSES = {
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn",
    "os.startfile", "os.startfile/2", "_winapi.CreateProcess",
}  # fmt: skip
# What bypasses Python: arbitrary compiled code, raw memory, an interpreter without this hook, and its frames.
_NATIVE = {
    "ctypes.dlopen", "ctypes.dlsym/handle", "ctypes.call_function", "ctypes.string_at", "ctypes.wstring_at",
    "ctypes.cdata", "cpython.PyInterpreterState_New", "gc.get_objects", "gc.get_referrers", "sys._current_frames",
    "sys._current_exceptions", "winreg.SetValue", "winreg.CreateKey",
}  # fmt: skip
# Events that change files: how many of their first arguments are paths, and where the descriptors of the folders
# begin that these paths may be relative to.
_CHANGES = {
    "os.chflags": (1, 9), "os.chmod": (1, 2), "os.chown": (1, 3), "os.lchmod": (1, 9), "os.link": (2, 2),
    "os.mkdir": (1, 2), "os.remove": (1, 1), "os.removexattr": (1, 9), "os.rename": (2, 2), "os.rmdir": (1, 1),
    "os.setxattr": (1, 9), "os.truncate": (1, 9), "os.utime": (1, 3),
}  # fmt: skip
_LISTS = {"os.listdir", "os.scandir"}
_OTHERS = {"os.kill", "os.killpg", "resource.prlimit"}  # events whose first argument is a process
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def confine_process(scratch: Path, libraries: Iterable[str] = LIBRARIES, file_size: int | None = FILE_SIZE) -> None:
    """Put this process under the hook, and limit the files that it writes, unless the level is `none`.

    `libraries` are imported first, if they are installed; `file_size` is the largest size of a written file in bytes.
    To be called before any model code runs.
    """
    for name in libraries:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    level = os.environ[LEVEL]
    if level == "none":
        return
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Without `patcher.codec`: another interpreter may lack what that needs.
    policy = AccessPolicy(**{name: tuple(paths) for name, paths in json.loads((scratch / POLICY).read_bytes()).items()})
    own = "/proc" if level == "bubblewrap" else f"/proc/{os.getpid()}"  # that shows nothing else there
    policy = replace(policy, readable=(*policy.readable, own))
    if level == "hook":
        _deny_fork_exec()
    sys.addaudithook(_make_hook(policy, scratch, contained=level == "bubblewrap"))


def _make_hook(policy: AccessPolicy, scratch: Path, *, contained: bool) -> Callable[[str, tuple[Any, ...]], None]:
    """The hook. Most of what it calls is bound here, so that code which replaces it by mistake does not change it."""
    note = os.open(scratch / NOTE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    write, exit_process, is_folder, decode, own = os.write, os._exit, os.path.isdir, os.fsdecode, os.getpid()
    real, join, parent, noted = os.path.realpath, os.path.join, os.path.dirname, set[str]()
    opened = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else ""  # other systems don't show what is open
    local = {int(getattr(socket, name)) for name in ("AF_UNIX", "AF_NETLINK") if hasattr(socket, name)}
    denied = dict.fromkeys(_NETWORK, "use the network")
    if not contained:
        denied |= {**dict.fromkeys(_PROCESSES, "start a process"), **dict.fromkeys(_NATIVE, "bypass Python")}

    def take_note(line: str) -> None:
        line = line.replace("\n", " ").replace("\r", " ")
        if line not in noted and len(noted) < _MAX_ATTEMPTS:
            noted.add(line)
            write(note, f"{line}\n".encode("utf-8", "replace"))

    def deny(what: str, on: object) -> None:
        what = f"{what} ({on!s:.200})"
        take_note(what)
        raise PermissionError(errno.EPERM, f"splade-patcher's sandbox does not let a model {what}")

    def end(what: str, on: object) -> None:
        try:
            noted.clear()
            take_note(f"{ENDED}{what} ({on!s:.200})")
        finally:
            exit_process(REFUSED)

    def locate(path: Any, folder: Any = -1) -> str:
        """The real path behind one that may be a descriptor, or be relative to that of a folder."""
        if isinstance(path, int):
            return real(join(opened, str(path)))
        inside = join(opened, str(folder)) if opened and isinstance(folder, int) and folder >= 0 else ""
        return real(join(inside, decode(path or ".")))

    def check_read(path: Any) -> None:
        target = locate(path)
        if not policy.may_read(target):
            end("read a private path", target)
        if target.startswith("/proc/") and target.endswith("/mem"):
            deny("bypass Python", target)

    def check_write(path: Any, folder: Any = -1, event: str = "") -> None:
        target = locate(path, folder)
        if not policy.may_write(target):
            end("write outside its own folder", f"{event}{target}")

    def check_open(path: Any, mode: Any, flags: Any) -> None:
        if isinstance(path, int):  # an open file: checked when it was opened
            return
        if (flags or 0) & _WRITES or (isinstance(mode, str) and set(mode) & set("wax+")):
            check_write(path)
        else:
            check_read(path)
        if mode is None:  # os.open, of whose folder the event says nothing
            climbs = ".." in decode(path).split("/") and not decode(path).startswith("/")
            if climbs or (is_folder(path) and not policy.may_write(locate(path))):
                deny("open a folder, or a path that leaves one", decode(path))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in denied:
            plain = (ascii(one) for one in arguments if isinstance(one, (str, bytes, int, tuple, list)))
            deny(denied[event], f"{event}: {next(plain, '')}")  # a command, an address, a library
        elif event == "open":
            check_open(*arguments)
        elif event in _CHANGES:
            paths, folders = _CHANGES[event]
            for number, path in enumerate(arguments[:paths]):
                check_write(path, (*arguments[folders:], -1, -1)[number], f"{event}: ")
        elif event == "os.symlink":  # a relative target is one from the folder of the link
            target, link, folder = arguments
            for path in (join(parent(decode(link)), decode(target)), link):
                check_write(path, folder, f"{event}: ")
        elif event in _LISTS:
            if arguments[0] not in {"/dev", "/proc", b"/dev", b"/proc"}:
                check_read(arguments[0])
        elif event == "sqlite3.connect":
            if arguments[0] != ":memory:":
                check_write(arguments[0])
        elif event == "socket.__new__" and arguments[1] not in local:
            deny("use the network", f"{event}: {arguments[1]!r}")
        elif contained:  # the rest concerns other processes and compiled code
            return
        elif event in _OTHERS and arguments[0] not in {own, 0}:
            deny("change another process", f"{event}: {arguments[0]}")
        elif event == "import" and arguments[0].rpartition(".")[2] == "_posixsubprocess":  # once more: see below
            deny("start a process", f"{event}: {arguments[0]}")
        elif event == "import" and arguments[1] and policy.may_write(locate(arguments[1])):  # compiled code
            deny("bypass Python", f"{event}: {arguments[1]}")
        elif event == "ctypes.dlsym" and not str(arguments[1]).startswith(("Py", "_Py")):
            deny("bypass Python", f"{event}: {arguments[1]}")  # torch and others look up Python's own names

    return hook


def _deny_fork_exec() -> None:
    """Replace the functions of Python that start a process without an audit event."""
    import multiprocessing.util  # noqa: F401 - it binds the module that is changed here
    import subprocess

    def deny(*arguments: Any, **_: Any) -> None:
        sys.audit("subprocess.Popen", arguments[0] if arguments else "")

    for module in (sys.modules.get("_posixsubprocess"), subprocess):
        for name in ("fork_exec", "_fork_exec"):
            if module is not None and hasattr(module, name):
                setattr(module, name, deny)
