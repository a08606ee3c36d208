"""Ends the child at the first thing that model code has no business doing, and says what it was.

Python tells an audit hook of such acts before they happen (PEP 578), and the hook can't be taken out again. It sees
what Python code does, not what compiled code does: where the kernel can forbid more, `kernel.py` asks it to.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import socket
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from patcher.sandbox.kernel import FILE_SIZE, lock
from patcher.sandbox.places import Places, child_places

REFUSED = 77  # exit code of a child that was ended here
NOTE = "refused.txt"  # what it was, in the scratch folder
COMPILER = "start a compiler"

# What models of this family import, or the loaders do on their way: some start processes or look for system libraries
# when they are imported, which is nothing that the model did.
LIBRARIES = ("flash_attn", "requests", "transformers.modeling_utils", "transformers.initialization")

_NETWORK = {
    "socket.connect",
    "socket.bind",
    "socket.sendto",
    "socket.sendmsg",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.gethostbyaddr",
    "socket.getnameinfo",
    "syslog.openlog",
    "syslog.syslog",
}
_PROCESSES = {
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "pty.spawn",
    "os.startfile",
    "os.startfile/2",
    "_winapi.CreateProcess",
}
_STARTS_ONE = {"subprocess.Popen", "os.posix_spawn"}
# What Triton starts to compile a kernel and its launcher: a C compiler, NVIDIA's assembler, the list of libraries.
_COMPILER = re.compile(r"(.+-)?(cc|gcc|c\+\+|g\+\+|clang|clang\+\+)(-[\d.]+)?|ptxas(-\w+)?|ldconfig")
# What reaches past Python: compiled code of its own choice, raw memory, and this hook's own frames.
_NATIVE = {
    "ctypes.dlopen",
    "ctypes.dlsym/handle",
    "ctypes.call_function",
    "ctypes.string_at",
    "ctypes.wstring_at",
    "ctypes.cdata",
    "gc.get_objects",
    "gc.get_referrers",
    "sys._current_frames",
    "sys._current_exceptions",
    "winreg.SetValue",
    "winreg.CreateKey",
}
# Events that change files, and how many of their first arguments are paths.
_CHANGES = {
    "os.chflags": 1,
    "os.chmod": 1,
    "os.chown": 1,
    "os.lchmod": 1,
    "os.link": 2,
    "os.mkdir": 1,
    "os.remove": 1,
    "os.removexattr": 1,
    "os.rename": 2,
    "os.rmdir": 1,
    "os.setxattr": 1,
    "os.symlink": 2,
    "os.truncate": 1,
    "os.utime": 1,
}
_LISTS = {"os.listdir", "os.scandir"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def confine(
    scratch: Path,
    given: Iterable[str],
    libraries: Iterable[str] = LIBRARIES,
    file_size: int | None = FILE_SIZE,
    compilers: bool = False,
) -> None:
    """From here on let this process run no other, reach no network, and touch only what it was given.

    `scratch` is the folder it may write in, `given` are files and folders it has to read. `libraries` are imported
    first, where they are installed; `file_size` is what one file may grow to, in bytes. `compilers` lets it start what
    compiles kernels for a GPU, where the kernel of the system holds these programs as it holds this process. To be
    called before any model code runs.
    """
    for name in libraries:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    places = child_places(scratch, given)
    compilers = lock(places, file_size, compilers)
    _shut_back_doors(compilers)
    sys.addaudithook(_make_hook(places, scratch, compilers))


def _make_hook(places: Places, scratch: Path, compilers: bool) -> Callable[[str, tuple[Any, ...]], None]:
    """The hook. What it needs is bound here, where model code can't put something else in its place by name."""
    note = os.open(scratch / NOTE, os.O_WRONLY | os.O_CREAT, 0o600)
    write, leave, real, own = os.write, os._exit, os.path.realpath, os.getpid()
    starts_one, is_compiler = frozenset(_STARTS_ONE), _compiler_test()
    local = {int(getattr(socket, name)) for name in ("AF_UNIX", "AF_NETLINK") if hasattr(socket, name)}
    forbidden = {
        **dict.fromkeys(_NETWORK, "use the network"),
        **dict.fromkeys(_PROCESSES, "start a process"),
        **dict.fromkeys(_NATIVE, "reach past Python"),
    }

    def refuse(what: str, on: object) -> None:
        try:
            write(note, f"{what} ({on!s:.200})".encode("utf-8", "replace"))
        finally:
            leave(REFUSED)

    def resolve(path: Any) -> str | None:
        if path is None or isinstance(path, int):  # an open file: judged when it was opened
            return None
        return real(os.fsdecode(path))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in forbidden:
            compiler = event in starts_one and is_compiler(arguments[0])
            if not (compiler and compilers):
                refuse(COMPILER if compiler else forbidden[event], f"{event}: {_shown(arguments)}")
        elif event == "open":
            path, mode, flags = arguments
            place = resolve(path)
            if place is None:
                return
            if (flags or 0) & _WRITES or (isinstance(mode, str) and set(mode) & set("wax+")):
                if not places.may_write(place):
                    refuse("write outside its own folder", place)
            elif not places.may_read(place):
                refuse("read what is private", place)
        elif event in _CHANGES:
            for path in arguments[: _CHANGES[event]]:
                place = resolve(path)
                if place is not None and not places.may_write(place):
                    refuse("write outside its own folder", f"{event}: {place}")
        elif event in _LISTS:
            place = resolve(arguments[0])
            if place is not None and not places.may_read(place):
                refuse("read what is private", place)
        elif event == "sqlite3.connect":
            place = resolve(arguments[0])
            if place is not None and arguments[0] != ":memory:" and not places.may_write(place):
                refuse("write outside its own folder", place)
        elif event == "ctypes.dlsym" and not str(arguments[1]).startswith(("Py", "_Py")):
            refuse("reach past Python", f"{event}: {arguments[1]}")  # torch and others ask Python's own names of it
        elif event == "socket.__new__" and arguments[1] not in local:
            refuse("use the network", f"{event}: {arguments[1]!r}")
        elif event in {"os.kill", "os.killpg"} and arguments[0] != own:
            refuse("send a signal to another process", arguments[0])

    return hook


def _shown(arguments: tuple[Any, ...]) -> str:
    """The first argument that says something to a person: a command, an address, a library."""
    plain = [
        item for item in arguments if isinstance(item, (str, bytes, int, tuple, list)) and not isinstance(item, bool)
    ]
    return ascii(plain[0]) if plain else ""


def _compiler_test() -> Callable[[Any], bool]:
    """What tells a compiler by its name, with nothing in it that model code can reach by name."""
    matches, last_part, decode = _COMPILER.fullmatch, os.path.basename, os.fsdecode

    def is_compiler(program: Any) -> bool:
        return isinstance(program, (str, bytes)) and matches(last_part(decode(program))) is not None

    return is_compiler


def _shut_back_doors(compilers: bool) -> None:
    """Python's own ways to start a process without an audit event."""
    import multiprocessing.util  # noqa: F401 - bound before, so that it is this module which is changed
    import subprocess

    is_compiler = _compiler_test()

    def refuse(*arguments: Any, **_: Any) -> None:
        sys.audit("subprocess.Popen", arguments[0] if arguments else "")

    def only_compilers(start: Callable[..., Any]) -> Callable[..., Any]:
        """Holds on to the way itself, which code that looks for it will find: here the kernel is what holds."""

        def start_one(*arguments: Any) -> Any:
            return start(*arguments) if all(map(is_compiler, arguments[1])) else refuse(*arguments)

        return start_one

    for module in (sys.modules.get("_posixsubprocess"), subprocess):
        for name in ("fork_exec", "_fork_exec"):
            if module is not None and hasattr(module, name):
                setattr(module, name, only_compilers(getattr(module, name)) if compilers else refuse)
