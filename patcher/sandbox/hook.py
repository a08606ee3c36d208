"""Ends the child at the first action that no model needs, and reports what it was.

Python calls an audit hook before such actions (PEP 578), and a hook can't be removed. It sees what Python code does,
not what compiled code does: `kernel.py` restricts that as far as the kernel can.
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

from patcher.sandbox.access import AccessPolicy, child_policy
from patcher.sandbox.kernel import FILE_SIZE, restrict_kernel

REFUSED = 77  # exit code of a child that was ended here
NOTE = "refused.txt"  # what the child tried, in the scratch folder
COMPILER = "start a compiler"

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
_STARTS_ONE = {"subprocess.Popen", "os.posix_spawn"}
# What Triton runs to compile a kernel and its launcher: a C compiler, NVIDIA's assembler, the list of libraries.
_COMPILER = re.compile(r"(.+-)?(cc|gcc|c\+\+|g\+\+|clang|clang\+\+)(-[\d.]+)?|ptxas(-\w+)?|ldconfig")
# What bypasses Python: arbitrary compiled code, raw memory, and the frames of this hook.
_NATIVE = {
    "ctypes.dlopen", "ctypes.dlsym/handle", "ctypes.call_function", "ctypes.string_at", "ctypes.wstring_at",
    "ctypes.cdata", "gc.get_objects", "gc.get_referrers", "sys._current_frames", "sys._current_exceptions",
    "winreg.SetValue", "winreg.CreateKey",
}  # fmt: skip
# Events that change files, and how many of their first arguments are paths.
_CHANGES = {
    "os.chflags": 1, "os.chmod": 1, "os.chown": 1, "os.lchmod": 1, "os.link": 2, "os.mkdir": 1, "os.remove": 1,
    "os.removexattr": 1, "os.rename": 2, "os.rmdir": 1, "os.setxattr": 1, "os.symlink": 2, "os.truncate": 1,
    "os.utime": 1,
}  # fmt: skip
_LISTS = {"os.listdir", "os.scandir"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def confine_process(
    scratch: Path,
    readable: Iterable[str],
    libraries: Iterable[str] = LIBRARIES,
    file_size: int | None = FILE_SIZE,
    *,
    compilers: bool = False,
) -> None:
    """Put this process into the sandbox: no other process, no network, no files but those it needs.

    It may write in the `scratch` folder and read the files and folders in `readable`. `libraries` are imported first,
    if they are installed; `file_size` is the largest size of a written file in bytes. `compilers` lets it start what
    compiles kernels for a GPU, if the system's kernel restricts these programs too. To be called before any model code
    runs.
    """
    for name in libraries:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    policy = child_policy(scratch, readable)
    compilers = restrict_kernel(policy, file_size, programs=compilers)
    _disable_fork_exec(compilers=compilers)
    sys.addaudithook(_make_hook(policy, scratch, compilers=compilers))


def _make_hook(policy: AccessPolicy, scratch: Path, *, compilers: bool) -> Callable[[str, tuple[Any, ...]], None]:
    """The hook. What it calls is bound here, so that model code can't replace it by name."""
    note = os.open(scratch / NOTE, os.O_WRONLY | os.O_CREAT, 0o600)
    write, exit_process, real, own = os.write, os._exit, os.path.realpath, os.getpid()
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
            exit_process(REFUSED)

    def check(path: Any, act: str = "", *, writes: bool) -> None:
        if path is None or isinstance(path, int):  # an open file: checked when it was opened
            return
        target = real(os.fsdecode(path))
        if writes and not policy.may_write(target):
            refuse("write outside its own folder", f"{act}{target}")
        if not writes and not policy.may_read(target):
            refuse("read what is private", target)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in forbidden:
            compiler = event in starts_one and is_compiler(arguments[0])
            if not (compiler and compilers):
                refuse(COMPILER if compiler else forbidden[event], f"{event}: {_shown(arguments)}")
        elif event == "open":
            path, mode, flags = arguments
            check(path, writes=bool((flags or 0) & _WRITES or (isinstance(mode, str) and set(mode) & set("wax+"))))
        elif event in _CHANGES:
            for path in arguments[: _CHANGES[event]]:
                check(path, f"{event}: ", writes=True)
        elif event in _LISTS:
            check(arguments[0], writes=False)
        elif event == "sqlite3.connect":
            if arguments[0] != ":memory:":
                check(arguments[0], writes=True)
        elif event == "ctypes.dlsym" and not str(arguments[1]).startswith(("Py", "_Py")):
            refuse("reach past Python", f"{event}: {arguments[1]}")  # torch and others look up Python's own names
        elif event == "socket.__new__" and arguments[1] not in local:
            refuse("use the network", f"{event}: {arguments[1]!r}")
        elif event in {"os.kill", "os.killpg"} and arguments[0] != own:
            refuse("send a signal to another process", arguments[0])

    return hook


def _shown(arguments: tuple[Any, ...]) -> str:
    """The first argument that a person understands: a command, an address, a library."""
    plain = [
        item for item in arguments if isinstance(item, (str, bytes, int, tuple, list)) and not isinstance(item, bool)
    ]
    return ascii(plain[0]) if plain else ""


def _compiler_test() -> Callable[[Any], bool]:
    """Recognizes a compiler by its file name; holds nothing that model code can replace by name."""
    matches, last_part, decode = _COMPILER.fullmatch, os.path.basename, os.fsdecode

    def is_compiler(program: Any) -> bool:
        return isinstance(program, (str, bytes)) and matches(last_part(decode(program))) is not None

    return is_compiler


def _disable_fork_exec(*, compilers: bool) -> None:
    """Replace the functions of Python that start a process without an audit event."""
    import multiprocessing.util  # noqa: F401 - it binds the module that is changed here
    import subprocess

    is_compiler = _compiler_test()

    def refuse(*arguments: Any, **_: Any) -> None:
        sys.audit("subprocess.Popen", arguments[0] if arguments else "")

    def only_compilers(start: Callable[..., Any]) -> Callable[..., Any]:
        """Model code can find `start` in here; the kernel restricts what it starts."""

        def start_one(*arguments: Any) -> Any:
            return start(*arguments) if all(map(is_compiler, arguments[1])) else refuse(*arguments)

        return start_one

    for module in (sys.modules.get("_posixsubprocess"), subprocess):
        for name in ("fork_exec", "_fork_exec"):
            if module is not None and hasattr(module, name):
                setattr(module, name, only_compilers(getattr(module, name)) if compilers else refuse)
