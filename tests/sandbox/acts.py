# ruff: noqa: SIM115 - nobody closes what may not be opened
"""What hostile model code may try, one act after another, in a child that is confined as that of a verification is."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from patcher.sandbox.child import Service

Act = Callable[[dict[str, Any]], Any]


def _connect(address: Any, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> None:
    with socket.socket(family, kind) as opened:
        opened.settimeout(2)
        opened.connect(address)


def _in_a_thread(act: Callable[[], Any]) -> None:
    """An error in a thread is nobody's business, so the act is lost on a caller that only catches."""
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


def _spawn_through_multiprocessing(_: dict[str, Any]) -> None:
    import multiprocessing

    multiprocessing.get_context("spawn").Process(target=print).start()


def _swallow(act: Callable[[], Any]) -> None:
    with contextlib.suppress(BaseException):
        act()


# name: the act, and words of what the tool says about it. The request names the private home, a port and the parent.
ACTS: dict[str, tuple[Act, str]] = {
    "token file": (lambda r: open(f"{r['home']}/.cache/huggingface/token").read(), "read what is private"),
    "netrc": (lambda r: Path(r["home"], ".netrc").read_bytes(), "read what is private"),
    "token file by os.open": (lambda r: os.open(f"{r['home']}/.git-credentials", os.O_RDONLY), "read what is private"),
    "home listing": (lambda r: os.listdir(r["home"]), "read what is private"),
    "through a dotted path": (lambda r: open(f"/usr/../{r['home']}/.netrc").read(), "read what is private"),
    "environment of the parent": (lambda r: open(f"/proc/{r['parent']}/environ").read(), "read what is private"),
    "connection": (lambda r: _connect(("127.0.0.1", r["port"])), "use the network"),
    "name": (lambda r: socket.getaddrinfo("huggingface.co", 443), "use the network"),
    "datagram": (
        lambda r: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 53)),
        "use the network",
    ),
    "unix socket": (lambda r: _connect("/var/run/docker.sock", socket.AF_UNIX), "use the network"),
    "server": (lambda r: socket.socket().bind(("127.0.0.1", 0)), "use the network"),
    "subprocess": (lambda r: subprocess.run(["true"]), "start a process"),
    "compiler": (lambda r: subprocess.run(["gcc", "--version"]), "start a compiler"),
    "shell": (lambda r: os.system("true"), "start a process"),
    "fork": (lambda r: os.fork(), "start a process"),
    "exec": (lambda r: os.execv("/bin/true", ["true"]), "start a process"),
    "posix_spawn": (lambda r: os.posix_spawn("/bin/true", ["true"], {}), "start a process"),
    "multiprocessing": (_spawn_through_multiprocessing, "start a process"),
    "terminal": (lambda r: __import__("pty").spawn(["true"]), "start a process"),
    "write": (lambda r: open(r["mark"], "w"), "write outside its own folder"),
    "append": (lambda r: open(r["victim"], "a"), "write outside its own folder"),
    "update": (lambda r: open(r["victim"], "r+"), "write outside its own folder"),
    "remove": (lambda r: os.remove(r["victim"]), "write outside its own folder"),
    "move away": (lambda r: os.rename(r["victim"], "taken"), "write outside its own folder"),
    "move in": (lambda r: (Path("mine").touch(), os.rename("mine", r["mark"])), "write outside its own folder"),
    "truncate": (lambda r: os.truncate(r["victim"], 0), "write outside its own folder"),
    "rights": (lambda r: os.chmod(r["victim"], 0o777), "write outside its own folder"),
    "new folder": (lambda r: os.mkdir(r["mark"]), "write outside its own folder"),
    "link": (lambda r: os.symlink(r["victim"], "link"), "write outside its own folder"),
    "second name": (lambda r: os.link(r["victim"], "link"), "write outside its own folder"),
    "database": (lambda r: __import__("sqlite3").connect(r["mark"]), "write outside its own folder"),
    "library": (lambda r: ctypes.CDLL(None), "reach past Python"),
    "memory": (lambda r: ctypes.string_at(id(r), 16), "reach past Python"),
    "libc": (lambda r: ctypes.pythonapi.system(b"true"), "reach past Python"),
    "objects": (lambda r: __import__("gc").get_objects(), "reach past Python"),
    "signal": (lambda r: os.kill(r["parent"], 0), "send a signal"),
    "swallowed": (lambda r: _swallow(lambda: os.system("true")), "start a process"),
    "in a thread": (lambda r: _in_a_thread(lambda: os.system("true")), "start a process"),
}


def _quietly(act: Callable[[], Any]) -> str:
    try:
        return f"done: {act()!s:.80}"
    except BaseException as error:
        return type(error).__name__


def _compiled(request: dict[str, Any]) -> dict[str, str]:
    """The kernel's part alone: what compiled code, which no audit hook sees, gets done after `restrict_kernel`."""
    home, libc = request["home"], ctypes.CDLL(None, use_errno=True)

    def failed(result: int) -> None:
        if result < 0:
            raise PermissionError

    tried: dict[str, Callable[[], Any]] = {
        "read": lambda: open(f"{home}/.netrc").read(),
        "environment": lambda: open(f"/proc/{request['parent']}/environ").read(),
        "write": lambda: open(request["mark"], "w"),
        "remove": lambda: os.remove(request["victim"]),
        "socket": lambda: socket.socket(),
        "unix": lambda: _connect(request["unix"], socket.AF_UNIX),
        "fork": lambda: failed(libc.fork()),
        "exec": lambda: failed(libc.execv(b"/bin/true", None)),
        "subprocess": lambda: subprocess.run(["true"]),
        "signal": lambda: os.kill(request["parent"], 0),
        "session": lambda: os.setsid(),
        "pipe": lambda: os.mkfifo("answer.json"),
        "link": lambda: os.symlink("/etc/passwd", "answer.json"),
        "large file": lambda: Path("large").open("wb").truncate(1 << 40),
    }
    allowed: dict[str, Callable[[], Any]] = {
        "library": lambda: len(Path(os.__file__).read_bytes()),
        "scratch": lambda: Path("mine").write_text("x"),
        "thread": lambda: _in_a_thread(lambda: None),
        "null": lambda: open("/dev/null", "w").close(),
        "itself": lambda: len(Path("/proc/self/status").read_text()),
        "machine": lambda: len(Path("/proc/meminfo").read_text()),
    }
    return {name: _quietly(act) for name, act in {**tried, **allowed}.items()}


def _programs(request: dict[str, Any]) -> dict[str, str]:
    """What programs get done that code may start after `restrict_kernel`, and code that has no audit hook above it."""
    home, interpreter = request["home"], sys.executable

    def run(*words: str) -> None:
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def python(code: str) -> None:
        run(interpreter, "-c", code)

    tried: dict[str, Callable[[], Any]] = {
        "read": lambda: run("cat", f"{home}/.netrc"),
        "environment": lambda: run("cat", f"/proc/{request['parent']}/environ"),
        "write": lambda: run("touch", request["mark"]),
        "remove": lambda: run("rm", request["victim"]),
        "connection": lambda: python(f"import socket; socket.create_connection(('127.0.0.1', {request['port']}))"),
        "unix": lambda: python(f"import socket; socket.socket(socket.AF_UNIX).connect({request['unix']!r})"),
        "signal": lambda: python(f"import os; os.kill({request['parent']}, 0)"),
        "session": lambda: python("import os; os.setsid()"),
        "namespace": lambda: run("unshare", "--user", "true"),
        "namespace by clone": lambda: python(
            # CLONE_NEWUSER and SIGCHLD; a child that comes to be ends at once
            "import ctypes, os, platform; call = {'x86_64': 56, 'aarch64': 220}[platform.machine()]\n"
            "pid = ctypes.CDLL(None).syscall(call, 0x10000000 | 17, 0, 0, 0, 0)\n"
            "os._exit(0 if pid >= 0 else 1)"
        ),
    }
    allowed: dict[str, Callable[[], Any]] = {
        "program": lambda: run("true"),
        "interpreter": lambda: python("import ctypes, os, socket; ctypes.CDLL(None); socket.socket(socket.AF_UNIX)"),
        "its own files": lambda: run("touch", "mine"),
        "library": lambda: run("cat", os.__file__),
    }
    return {name: _quietly(act) for name, act in {**tried, **allowed}.items()}


def _compile(_: dict[str, Any]) -> str:
    """What Triton does for a kernel: a compiler makes a library, which is then imported."""
    import sysconfig

    Path("made.c").write_text(
        "#include <Python.h>\n"
        'static struct PyModuleDef made = {PyModuleDef_HEAD_INIT, "made", NULL, 0, NULL};\n'
        "PyMODINIT_FUNC PyInit_made(void) { return PyModule_Create(&made); }\n"
    )
    subprocess.check_call(["cc", "-shared", "-fPIC", f"-I{sysconfig.get_path('include')}", "made.c", "-o", "made.so"])
    sys.path.insert(0, os.getcwd())
    return str(__import__("made").__name__)


def act(request: dict[str, Any]) -> dict[str, Any]:
    from patcher.sandbox.access import child_policy
    from patcher.sandbox.hook import confine_process
    from patcher.sandbox.kernel import restrict_kernel

    scratch = Path.cwd()
    done: Any = None
    if request["do"] == "compiled":
        restrict_kernel(child_policy(scratch, request["given"]))
        done = _compiled(request)
    elif request["do"] == "programs":
        assert restrict_kernel(child_policy(scratch, request["given"]), programs=True)
        done = _programs(request)
    elif request["do"] == "forged":
        confine_process(scratch, [], ())
        Path("answer.json").write_text(request["answer"])
        os._exit(0)
    else:
        confine_process(scratch, request["given"], (), compilers=request.get("compilers", False))
        if request["do"] == "compile":
            done = _compile(request)
        elif request["do"] == "sleep":
            time.sleep(60)
        elif request["do"] == "harmless":
            done = [Path(path).read_text() for path in request["given"]]
            Path("mine").write_text("x")
            Path("mine").rename("other")
        else:
            done = ACTS[request["do"]][0](request)
    return {"done": str(done) if done is not None and not isinstance(done, dict) else done}


SERVICE = Service(dict[str, Any], lambda *_: None, act)
