# ruff: noqa: E501, RUF012, SIM115 - one act on a line; nobody closes what may not be opened
"""What model code may try, each act in a process that is confined as that of a verification is.

`ACTS` is the table of docs/security.md (`python -m tests.sandbox.table`); the tests show that every outcome is true.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import platform
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from patcher.sandbox.child import POLICY, Service
from patcher.sandbox.hook import ENDED, NOTE, REFUSED, confine_process

ENDS, DENIES, NOTHING, DONE = "ended", "denied", "nothing", "done"
SECRET = "hf_RecognisableSecretToken0123456789"
Request = dict[str, Any]  # see conftest.request_of; `victim` and `mark` are files of the act's own


@dataclass(frozen=True)
class Act:
    """Something to try. `run` returns True where it got what it wanted; `hook` and `bubblewrap` say what comes of it.

    What it changed outside is seen from outside: a `victim` that is not whole, or a `mark` that should not be there.
    """

    kind: str
    what: str
    run: Callable[[Request], object]
    hook: str
    bubblewrap: str

    @property
    def slug(self) -> str:
        return "-".join("".join(c if c.isalnum() else " " for c in self.what.lower()).split())


def _connect(address: Any, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> bool:
    with socket.socket(family, kind) as opened:
        opened.settimeout(2)
        opened.connect(address)
    return True


def _in_a_thread(act: Callable[[], Any]) -> bool:
    """An error in a thread is nobody's business, so the act is lost on a caller that only catches."""
    done: list[object] = []
    thread = threading.Thread(target=lambda: done.append(act()))
    threading.excepthook = lambda _: None
    thread.start()
    thread.join()
    return done == [0]


def _program(code: str) -> bool:
    """Whether a program in Python, which has no hook, ends well."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    return done.returncode == 0


def _spawn_through_multiprocessing(_: Request) -> bool:
    import multiprocessing

    with contextlib.suppress(AttributeError):  # the file of this test can't be run as a program
        multiprocessing.get_context("spawn").Process(target=time.sleep, args=(0,)).start()
    return True


def _noraise(path: str) -> str:
    """Python's own function that opens a file without an audit event."""
    opened = ctypes.pythonapi["_Py_open_noraise"](path.encode(), os.O_RDONLY)
    return os.read(opened, 100).decode()


def _attach(request: Request) -> bool:
    import sqlite3

    with sqlite3.connect(":memory:") as database:
        database.execute(f"ATTACH DATABASE '{request['mark']}' AS outside")
        database.execute("CREATE TABLE outside.t (c)")
    return False


def _subinterpreter(code: str) -> bool:
    import _xxsubinterpreters as interpreters

    interpreters.run_string(interpreters.create(), code)
    return True


def _array_interface(_: Request) -> bool:
    import numpy as np

    memory = ctypes.create_string_buffer(b"whole")

    class Raw:
        __array_interface__ = {
            "shape": (5,), "typestr": "|u1", "data": (ctypes.addressof(memory), False), "version": 3
        }  # fmt: skip

    np.asarray(Raw())[:] = 0
    return memory.raw[:5] == bytes(5)


def _memmove(_: Request) -> bool:
    memory = ctypes.create_string_buffer(b"whole")
    ctypes.memmove(id(memory) - id(memory) + ctypes.addressof(memory), b"other", 5)
    return memory.value == b"other"


def _at(folder: str, path: str, flags: int = os.O_RDONLY) -> str:
    """A file by its name in a folder that is open."""
    return os.read(os.open(path, flags, dir_fd=os.open(folder, os.O_RDONLY)), 100).decode()


def _climb(request: Request) -> str:
    """A path that leads elsewhere from the open folder than from the current one."""
    os.makedirs("a/b/c/d/e/f/g/h/i/j/k/l")
    top = os.open(".", os.O_RDONLY)
    os.chdir("a/b/c/d/e/f/g/h/i/j/k/l")
    return os.read(os.open("../" * 12 + request["home"] + "/.netrc", os.O_RDONLY, dir_fd=top), 100).decode()


def _chmod_at(request: Request) -> None:
    path = Path(request["victim"])
    os.chmod(str(path).lstrip("/"), 0o777, dir_fd=os.open("/", os.O_RDONLY))


def _chmod_at_once_opened(request: Request) -> None:
    """The folder was opened before: by a library, say."""
    path = Path(request["victim"])
    os.chmod(path.name, 0o777, dir_fd=request["folder"])


def _type_into(request: Request) -> bool:
    terminal = os.open(request["terminal"], os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(terminal, termios.TIOCSTI, b"x")
    return True


def _write_into(request: Request) -> bool:
    return os.write(os.open(request["terminal"], os.O_WRONLY | os.O_NOCTTY), b"x") == 1


def _shared_memory(request: Request) -> bool:
    import _posixshmem

    os.close(_posixshmem.shm_open(f"/{Path(request['mark']).name}", os.O_CREAT | os.O_RDWR, 0o600))
    return False


def _pidfd(request: Request) -> bool:
    signal.pidfd_send_signal(os.pidfd_open(request["parent"]), 0)
    return True


def _affinity(request: Request) -> bool:
    os.sched_setaffinity(request["parent"], os.sched_getaffinity(request["parent"]))
    return True


def _priority(request: Request) -> bool:
    os.setpriority(os.PRIO_PROCESS, request["parent"], os.getpriority(os.PRIO_PROCESS, request["parent"]))
    return True


def _prlimit(request: Request) -> bool:
    resource.prlimit(request["parent"], resource.RLIMIT_NOFILE, (64, 64))
    return True


def _fork(_: Request) -> bool:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return True


def _fork_exec(_: Request) -> bool:
    from multiprocessing import util

    return util.spawnv_passfds(b"/bin/true", [b"true"], []) > 0


def _fork_exec_again(_: Request) -> bool:
    """Python's module, once more and unchanged."""
    del sys.modules["_posixsubprocess"]
    return _fork_exec(_)


def _extension(_: Request) -> bool:
    """A compiled module in the folder that the code may write to."""
    made = __import__("markupsafe._speedups")._speedups.__file__
    shutil.copy(made, ".")
    sys.path.insert(0, os.getcwd())
    return import_module("_speedups").__file__ != made


def _from_file(request: Request) -> bool:
    import torch

    read = torch.from_file(f"{request['home']}/.netrc", size=len(SECRET), dtype=torch.uint8)
    return bytes(read.tolist()).decode() == SECRET


def _save_file(request: Request) -> bool:
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, request["mark"])
    return True


def _save_tokenizer(request: Request) -> bool:
    from tokenizers import Tokenizer, models

    Tokenizer(models.BPE()).save(request["mark"])
    return True


def _store(request: Request) -> bool:
    from torch.distributed import TCPStore

    TCPStore("127.0.0.1", request["store"], timeout=timedelta(seconds=2)).set("secret", SECRET)
    return True


def _replace_rules(request: Request) -> bool:
    from patcher.sandbox.access import AccessPolicy

    AccessPolicy.may_read = lambda *_: True  # type: ignore[method-assign]
    return SECRET in Path(request["home"], ".netrc").read_text()


def _link_by_a_detour(request: Request) -> bool:
    """A relative link that leads to the secret from its own folder, and nowhere from the current one."""
    here, deep = os.getcwd(), "a/b/c/d/e/f/g/h/i/j/k/l/m"
    os.makedirs(deep)
    os.chdir(deep)
    os.symlink("../" * here.count("/") + f"{request['home'][1:]}/.netrc", "../" * 13 + "link")
    return SECRET in os.read(os.open("link", os.O_RDONLY, dir_fd=os.open(here, os.O_RDONLY)), 100).decode()


def _swallow(act: Callable[[], Any]) -> None:
    with contextlib.suppress(BaseException):
        act()


def _compile(_: Request) -> bool:
    """What Triton and torch.compile do for a kernel: a compiler makes a library, which is then imported."""
    import sysconfig

    Path("made.c").write_text(
        "#include <Python.h>\n"
        'static struct PyModuleDef made = {PyModuleDef_HEAD_INIT, "made", NULL, 0, NULL};\n'
        "PyMODINIT_FUNC PyInit_made(void) { return PyModule_Create(&made); }\n"
    )
    subprocess.check_call(["cc", "-shared", "-fPIC", f"-I{sysconfig.get_path('include')}", "made.c", "-o", "made.so"])
    sys.path.insert(0, os.getcwd())
    return bool(__import__("made").__name__ == "made")


def _scratch(_: Request) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a", "b").mkdir(parents=True)
        Path(folder, "a", "b", "c").write_text("x")
        os.rename(Path(folder, "a"), Path(folder, "d"))
        shutil.rmtree(Path(folder, "d"))
    return not Path(folder).exists()


def _machine(request: Request) -> bool:
    read = [Path("/proc/cpuinfo"), Path("/proc/self/status"), Path("/proc/meminfo"), Path(os.__file__)]
    given = [Path(path) for path in request["given"]]
    open("/dev/null", "w").write("x")
    return all(path.read_bytes() for path in (*read, *given)) and len(os.urandom(8)) == 8


# What two packages do when they are imported, so that they need not be installed: llvmlite 0.50, which numba 0.68 imports,
# makes an OSError of its own; bitsandbytes 0.50 goes on without its library, and so its import works.
_NUMBA = """
import ctypes
try:
    ctypes.CDLL(None).getpid()
except OSError:
    raise OSError("Could not find/load shared object file 'libllvmlite.so'")
"""
_BITSANDBYTES = """
import ctypes, subprocess
try:
    subprocess.run(["nvidia-smi"], capture_output=True)
except Exception:
    pass
try:
    lib = ctypes.cdll.LoadLibrary(None)
except Exception:
    lib = None
"""


def _import(name: str, stand_in: str) -> object:
    Path(f"like_{name}.py").write_text(stand_in)
    sys.path.insert(0, os.getcwd())
    return import_module(f"like_{name}")


def _survives(act: Callable[[], Any]) -> bool:
    """What honest code does: try, and go on without."""
    try:
        act()
    except Exception as error:
        assert isinstance(error, (OSError, subprocess.SubprocessError)), error
    return True


# Code for programs, which have no hook: {home} and so on come from the request.
_REMOUNT = (
    "import ctypes; c = ctypes.CDLL(None, use_errno=True)\n"
    "c.unshare(0x10000000 | 0x20000)\n"  # CLONE_NEWUSER, CLONE_NEWNS
    "raise SystemExit(c.mount(None, b'/usr', None, 0x20 | 0x1000, None) != 0)"  # MS_REMOUNT, MS_BIND: writable again
)


_KEY = (
    "import ctypes; call = ctypes.CDLL(None).syscall\n"
    "raise SystemExit(call({keyctl}, 10, -3, b'user', b'patcher-test', 0) < 0)"  # KEYCTL_SEARCH in the session's keyring
)


def _by_program(code: str) -> Callable[[Request], bool]:
    return lambda request: _program(code.format(**request))


# fmt: off
ACTS = tuple(Act(*row) for row in (
    ("secrets", "the token file of the Hub's client, by open", lambda r: SECRET in open(f"{r['home']}/.cache/huggingface/token").read(), ENDS, ENDS),
    ("secrets", "~/.netrc, by pathlib", lambda r: SECRET in Path(r["home"], ".netrc").read_text(), ENDS, ENDS),
    ("secrets", "~/.git-credentials, by os.open", lambda r: os.open(f"{r['home']}/.git-credentials", os.O_RDONLY) > 0, ENDS, ENDS),
    ("secrets", "a private key, by io.FileIO", lambda r: SECRET in __import__("io").FileIO(f"{r['home']}/.ssh/id_rsa").read().decode(), ENDS, ENDS),
    ("secrets", "a listing of the home", lambda r: bool(os.listdir(r["home"])), ENDS, ENDS),
    ("secrets", "a walk through the home", lambda r: bool(list(os.walk(r["home"]))), ENDS, ENDS),
    ("secrets", "a path with dots in it", lambda r: SECRET in open(f"/usr/../{r['home']}/.netrc").read(), ENDS, ENDS),
    ("secrets", "a link to a secret", lambda r: os.symlink(f"{r['home']}/.netrc", "link"), ENDS, ENDS),
    ("secrets", "a relative link that leads to a secret from its own folder", _link_by_a_detour, ENDS, ENDS),
    ("secrets", "a copy by shutil", lambda r: bool(shutil.copy(f"{r['home']}/.netrc", "mine")), ENDS, ENDS),
    ("secrets", "the environment of another process", lambda r: bool(open(f"/proc/{r['parent']}/environ").read()), ENDS, NOTHING),
    ("secrets", "another process's temporary files", lambda r: bool(Path(r["victim"]).read_text()), ENDS, ENDS),
    ("secrets", "a secret through an open folder", lambda r: SECRET in _at("/", f"{r['home'][1:]}/.netrc"), DENIES, DENIES),
    ("secrets", "a path that climbs out of an open folder", lambda r: SECRET in _climb(r), DENIES, DENIES),
    ("secrets", "a secret by Python's function without an event, through ctypes", lambda r: SECRET in _noraise(f"{r['home']}/.netrc"), DONE, NOTHING),
    ("secrets", "a secret by torch.from_file", _from_file, DONE, NOTHING),
    ("secrets", "a secret, once the hook's own rules are replaced by name", _replace_rules, DONE, NOTHING),
    ("secrets", "a secret by a program", _by_program("assert open('{home}/.netrc').read()"), DENIES, NOTHING),
    ("secrets", "a secret in a subinterpreter", lambda r: _subinterpreter(f"assert open('{r['home']}/.netrc').read()"), DENIES, NOTHING),
    ("secrets", "a key of the session, by a program", _by_program(_KEY), DENIES, NOTHING),
    ("secrets", "/etc/shadow by a program", _by_program("assert open('/etc/shadow').read()"), DENIES, NOTHING),
    ("secrets", "the environment of another process by a program", _by_program("assert open('/proc/{parent}/environ').read()"), DENIES, NOTHING),
    ("secrets", "whether a file exists, by os.stat", lambda r: os.path.exists(f"{r['home']}/.netrc"), DONE, NOTHING),
    ("files", "write a new file", lambda r: open(r["mark"], "w"), ENDS, ENDS),
    ("files", "append to a file", lambda r: open(r["victim"], "a"), ENDS, ENDS),
    ("files", "update a file", lambda r: open(r["victim"], "r+"), ENDS, ENDS),
    ("files", "remove a file", lambda r: os.remove(r["victim"]), ENDS, ENDS),
    ("files", "move a file away", lambda r: os.rename(r["victim"], "taken"), ENDS, ENDS),
    ("files", "move a file in", lambda r: (Path("mine").touch(), os.rename("mine", r["mark"])), ENDS, ENDS),
    ("files", "move by shutil", lambda r: (Path("mine").touch(), shutil.move("mine", r["mark"])), ENDS, ENDS),
    ("files", "empty a file", lambda r: os.truncate(r["victim"], 0), ENDS, ENDS),
    ("files", "change its rights", lambda r: os.chmod(r["victim"], 0o777), ENDS, ENDS),
    ("files", "change its rights through /", _chmod_at, DENIES, DENIES),
    ("files", "change its rights through a folder that is open", _chmod_at_once_opened, ENDS, NOTHING),
    ("files", "change its owner", lambda r: os.chown(r["victim"], 1, 1), ENDS, ENDS),
    ("files", "change its times", lambda r: os.utime(r["victim"], (0, 0)), ENDS, ENDS),
    ("files", "make a folder", lambda r: os.mkdir(r["mark"]), ENDS, ENDS),
    ("files", "a second name for a file", lambda r: os.link(r["victim"], "link"), ENDS, ENDS),
    ("files", "a database", lambda r: __import__("sqlite3").connect(r["mark"]), ENDS, ENDS),
    ("files", "a database that another one attaches", _attach, DONE, NOTHING),
    ("files", "a file by os.mknod", lambda r: os.mknod(r["mark"]), DONE, NOTHING),
    ("files", "a pipe by os.mkfifo", lambda r: os.mkfifo(r["mark"]), DONE, NOTHING),
    ("files", "a file by save_file of safetensors", _save_file, DONE, NOTHING),
    ("files", "a file by Tokenizer.save of tokenizers", _save_tokenizer, DONE, NOTHING),
    ("files", "a file by a program", _by_program("open('{mark}', 'w')"), DENIES, NOTHING),
    ("files", "remove a file by a program", _by_program("import os; os.remove('{victim}')"), DENIES, NOTHING),
    ("files", "write into /usr by a program", _by_program("open('/usr/patcher-test', 'w')"), DENIES, NOTHING),
    ("files", "make /usr writable in a namespace of its own", _by_program(_REMOUNT), DENIES, NOTHING),
    ("files", "write a setting of the kernel by a program", _by_program("open('/proc/sys/kernel/core_pattern', 'a')"), DENIES, NOTHING),
    ("files", "write a setting of a device by a program", _by_program("open('/sys/kernel/mm/transparent_hugepage/enabled', 'a')"), DENIES, NOTHING),
    ("files", "/dev/shm, by open", lambda r: open(f"/dev/shm/{Path(r['mark']).name}", "w"), ENDS, ENDS),
    ("files", "/dev/shm, by shm_open", _shared_memory, DONE, NOTHING),
    ("network", "a connection", lambda r: _connect(("127.0.0.1", r["port"])), DENIES, DENIES),
    ("network", "a name", lambda r: bool(socket.getaddrinfo("localhost", 443)), DENIES, DENIES),
    ("network", "an old function for a name", lambda r: bool(socket.gethostbyname("localhost")), DENIES, DENIES),
    ("network", "a request by urllib", lambda r: __import__("urllib.request").request.urlopen(f"http://127.0.0.1:{r['port']}", timeout=2), DENIES, DENIES),
    ("network", "a datagram", lambda r: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 53)), DENIES, DENIES),
    ("network", "a Unix socket", lambda r: _connect(r["unix"], socket.AF_UNIX), DENIES, DENIES),
    ("network", "an abstract Unix socket", lambda r: _connect("\0" + r["abstract"], socket.AF_UNIX), DENIES, DENIES),
    ("network", "a server", lambda r: socket.socket().bind(("127.0.0.1", 0)), DENIES, DENIES),
    ("network", "a socket to the virtual machine's host", lambda r: socket.socket(socket.AF_VSOCK), DENIES, DENIES),
    ("network", "a message by torch.distributed.TCPStore", _store, DONE, NOTHING),
    ("network", "a connection by a program", _by_program("import socket; socket.create_connection(('127.0.0.1', {port}), 2)"), DENIES, NOTHING),
    ("network", "a Unix socket by a program", _by_program("import socket; socket.socket(socket.AF_UNIX).connect('{unix}')"), DENIES, NOTHING),
    ("network", "an abstract Unix socket by a program", _by_program("import socket; socket.socket(socket.AF_UNIX).connect('\\0{abstract}')"), DENIES, NOTHING),
    ("network", "a socket to the virtual machine's host by a program", _by_program("import socket; socket.socket(socket.AF_VSOCK)"), DENIES, DONE),
    ("processes", "subprocess", lambda r: subprocess.run(["true"]).returncode == 0, DENIES, DONE),
    ("processes", "a compiler", _compile, DENIES, DONE),
    ("processes", "a shell", lambda r: os.system("true") == 0, DENIES, DONE),
    ("processes", "os.popen", lambda r: os.popen("echo x").read() == "x\n", DENIES, DONE),
    ("processes", "os.fork", _fork, DENIES, DONE),
    ("processes", "os.execv", lambda r: os.execv("/bin/true", ["true"]), DENIES, DONE),
    ("processes", "os.posix_spawn", lambda r: os.posix_spawn("/bin/true", ["true"], {}) > 0, DENIES, DONE),
    ("processes", "os.spawnv", lambda r: os.spawnv(os.P_WAIT, "/bin/true", ["true"]) == 0, DENIES, DONE),
    ("processes", "multiprocessing", _spawn_through_multiprocessing, DENIES, DONE),
    ("processes", "the function below multiprocessing", _fork_exec, DENIES, DONE),
    ("processes", "the same function, imported again", _fork_exec_again, DENIES, DONE),
    ("processes", "pty.spawn", lambda r: __import__("pty").spawn(["true"]) == 0, DENIES, DONE),
    ("processes", "an attempt whose error is swallowed", lambda r: _swallow(lambda: os.system("true")), DENIES, NOTHING),
    ("processes", "an attempt in a thread", lambda r: _in_a_thread(lambda: os.system("true")), DENIES, DONE),
    ("other processes", "os.kill", lambda r: os.kill(r["parent"], 0) is None, DENIES, NOTHING),
    ("other processes", "os.killpg", lambda r: os.killpg(r["group"], 0) is None, DENIES, NOTHING),
    ("other processes", "a signal through a pidfd", _pidfd, DONE, NOTHING),
    ("other processes", "resource.prlimit", _prlimit, DENIES, NOTHING),
    ("other processes", "os.setpriority", _priority, DONE, NOTHING),
    ("other processes", "os.sched_setaffinity", _affinity, DONE, NOTHING),
    ("other processes", "a signal by a program", _by_program("import os; os.kill({parent}, 0)"), DENIES, NOTHING),
    ("terminals and devices", "type into another terminal (TIOCSTI)", _type_into, ENDS, ENDS),
    ("terminals and devices", "write to another terminal", _write_into, ENDS, ENDS),
    ("terminals and devices", "read another terminal", lambda r: open(r["terminal"]), ENDS, ENDS),
    ("terminals and devices", "the controlling terminal", lambda r: open("/dev/tty"), ENDS, ENDS),
    ("terminals and devices", "the kernel's log", lambda r: open("/dev/kmsg"), ENDS, ENDS),
    ("terminals and devices", "another terminal by a program", _by_program("open('{terminal}', 'r+b', buffering=0)"), DENIES, NOTHING),
    ("terminals and devices", "the kernel's log by a program", _by_program("open('/dev/kmsg')"), DENIES, NOTHING),
    ("memory and compiled code", "a library, by ctypes.CDLL", lambda r: bool(ctypes.CDLL(None)), DENIES, DONE),
    ("memory and compiled code", "a compiled module in its own folder", _extension, DENIES, DONE),
    ("memory and compiled code", "a C function, by ctypes.pythonapi", lambda r: ctypes.pythonapi.system(b"true") == 0, DENIES, DONE),
    ("memory and compiled code", "ctypes.string_at", lambda r: bool(ctypes.string_at(id(r), 16)), DENIES, DONE),
    ("memory and compiled code", "ctypes.memmove", _memmove, DONE, DONE),
    ("memory and compiled code", "__array_interface__", _array_interface, DONE, DONE),
    ("memory and compiled code", "read /proc/self/mem", lambda r: open("/proc/self/mem", "rb"), DENIES, DENIES),
    ("memory and compiled code", "write /proc/self/mem", lambda r: open("/proc/self/mem", "r+b"), ENDS, ENDS),
    ("memory and compiled code", "a subinterpreter", lambda r: _subinterpreter("import os"), DENIES, DONE),
    ("memory and compiled code", "all objects, by gc", lambda r: bool(__import__("gc").get_objects()), DENIES, DONE),
    ("memory and compiled code", "the frames of all threads", lambda r: bool(sys._current_frames()), DENIES, DONE),
    ("disk", "a file of over 256 MB", lambda r: Path("large").open("wb").truncate(1 << 40) > 0, NOTHING, NOTHING),
    ("honest code", "its own temporary files", _scratch, DONE, DONE),
    ("honest code", "the model's files, /proc/cpuinfo, /dev/null", _machine, DONE, DONE),
    ("honest code", "a listing of /proc, named by bytes", lambda r: bool(os.listdir(b"/proc")), DONE, DONE),
    ("honest code", "try nvidia-smi and go on without", lambda r: _survives(lambda: subprocess.check_output(["nvidia-smi"])), DONE, DONE),
    ("honest code", "platform.platform()", lambda r: bool(platform.platform()), DONE, DONE),
    ("honest code", "platform.processor()", lambda r: platform.processor() is not None, DONE, DONE),
    ("honest code", "socket.getfqdn()", lambda r: bool(socket.getfqdn()), DONE, DONE),
    ("honest code", "try ctypes.CDLL and go on without", lambda r: _survives(lambda: ctypes.CDLL("libnvidia-ml.so.1")), DONE, DONE),
    ("honest code", "import bitsandbytes", lambda r: bool(_import("bitsandbytes", _BITSANDBYTES)), DONE, DONE),
    ("honest code", "try to import numba and go on without", lambda r: _survives(lambda: _import("numba", _NUMBA)), DONE, DONE),
    ("honest code", "import numba", lambda r: bool(_import("numba", _NUMBA)), DENIES, DONE),
    ("honest code", "matplotlib.pyplot", lambda r: bool(__import__("matplotlib.pyplot")), DONE, DONE),
    ("honest code", "locks of multiprocessing", lambda r: bool(__import__("multiprocessing").RLock()), DONE, DONE),
    ("honest code", "threads", lambda r: _in_a_thread(lambda: 0), DONE, DONE),
))
# fmt: on


def attempt(one: Act, request: Request, scratch: Path) -> str:
    """What comes of an act in a process of its own, which is confined in a folder of its own."""
    own = scratch / one.slug
    own.mkdir()
    shutil.copyfile(scratch / POLICY, own / POLICY)
    outside = Path(request["outside"])
    folder = os.open(outside, os.O_RDONLY) if outside.exists() else -1
    request = {**request, "victim": str(outside / one.slug), "mark": f"{outside / one.slug}.new", "folder": folder}
    child = os.fork()
    if child == 0:
        os.chdir(own)
        for name in ("HOME", "TMPDIR"):
            os.environ[name] = str(own)
        tempfile.tempdir = None
        confine_process(own, ())
        with contextlib.suppress(BaseException):
            os._exit(0 if one.run(request) is True else 1)
        os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    notes = (own / NOTE).read_text().splitlines()
    if code == REFUSED:
        assert notes[-1].startswith(ENDED), notes
        return ENDS
    return DONE if code == 0 else DENIES if notes else NOTHING


def answer(request: Request) -> dict[str, Any]:
    scratch = Path.cwd()
    if request["do"] == "all":
        for name in ("safetensors.torch", "tokenizers", "torch.distributed"):
            import_module(name)  # once for all
        return {one.slug: attempt(one, request, scratch) for one in ACTS}
    if request["do"] == "nest":
        for _ in range(3000):
            os.mkdir("f")
            os.chdir("f")
        return {}
    if request["do"] == "forged":
        confine_process(scratch, ())
        Path("answer.json").write_text(request["answer"])
        os._exit(0)
    if request["do"] == "torch.compile":
        import torch  # before the confinement, as every child of a verification does

        confine_process(scratch, ())
        return {"done": torch.compile(lambda x: torch.sin(x) + 1)(torch.zeros(2)).tolist()}
    confine_process(scratch, ())
    if request["do"] == "sleep":
        time.sleep(60)
    one = next(one for one in ACTS if one.what == request["do"])
    return {"done": json.dumps(one.run(request), default=str)}


SERVICE = Service(dict[str, Any], lambda *_: None, answer)
