"""Asks the Linux kernel to hold this process where compiled code can't be seen from Python: Landlock and seccomp.

Both need no rights and can't be taken back. Where the kernel is older, or is not Linux, that part is left out.
https://docs.kernel.org/userspace-api/landlock.html, https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
import sys

from patcher.sandbox.places import Places

FILE_SIZE = 1 << 28  # bytes that one file may grow to

# Landlock: rights that a rule may allow, by the version of the interface that brought them.
# Of those to write, all are handled and none allowed that make devices, pipes, sockets and links.
_READ, _WRITE, _MAKE_ODD = 0b1100, 0b0001_1111_1111_0010, 0b0001_1110_0100_0000
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_FILE_RIGHTS = 0b0110 | _TRUNCATE  # what a rule about a file, not a folder, may name
_NO_NEW_PRIVS, _SECCOMP_FILTER, _TSYNC = 38, 1, 1

_STARTS = {"fork", "vfork", "execve"}
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
# arch: audit name, seccomp(2), landlock_create_ruleset(2), then system calls to refuse. Those of io_uring and bpf are
# there because they are ways around the others; keys because a kernel keyring holds secrets too.
_REFUSED = {
    "x86_64": (
        0xC000003E,
        317,
        {
            "fork": 57, "vfork": 58, "execve": 59, "execveat": 322, "ptrace": 101, "connect": 42, "bind": 49,
            "sendmsg": 46, "sendmmsg": 307, "setsid": 112, "setpgid": 109, "process_vm_readv": 310,
            "process_vm_writev": 311, "pidfd_open": 434, "pidfd_send_signal": 424, "rt_sigqueueinfo": 129,
            "io_uring_setup": 425, "bpf": 321, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272,
            "setns": 308, "mount": 165, "perf_event_open": 298, "tkill": 200,
        },
        {"socket": 41, "clone": 56, "clone3": 435, "kill": 62, "tgkill": 234},
    ),
    "aarch64": (
        0xC00000B7,
        277,
        {
            "execve": 221, "execveat": 281, "ptrace": 117, "connect": 203, "bind": 200, "sendmsg": 211,
            "sendmmsg": 269, "setsid": 157, "setpgid": 154, "process_vm_readv": 270, "process_vm_writev": 271,
            "pidfd_open": 434, "pidfd_send_signal": 424, "rt_sigqueueinfo": 138, "io_uring_setup": 425, "bpf": 280,
            "add_key": 217, "request_key": 218, "keyctl": 219, "unshare": 97, "setns": 268, "mount": 40,
            "perf_event_open": 241, "tkill": 130,
        },
        {"socket": 198, "clone": 220, "clone3": 435, "kill": 129, "tgkill": 131},
    ),
}  # fmt: skip


def lock(places: Places, file_size: int | None = FILE_SIZE, programs: bool = False) -> bool:
    """Hold this process as far as its kernel can: files by Landlock, calls by seccomp, the size of what it writes.

    With `programs` it may start others, where the kernel holds them as well: what Landlock and seccomp refuse to this
    process, they refuse to all that is started. Says whether it may.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not sys.platform.startswith("linux") or struct.calcsize("P") != 8:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    held = _restrict_files(libc, places)
    programs = programs and held
    return _restrict_calls(libc, programs) and programs


def _restrict_files(libc: ctypes.CDLL, places: Places) -> bool:
    version = libc.syscall(444, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    complete = version >= 3  # before that, files can be emptied by name
    write = _WRITE | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    network, scoped = (3 if version >= 4 else 0), (3 if version >= 6 else 0)  # TCP; abstract sockets and signals
    handled = struct.pack("QQQ", _READ | write, network, scoped)
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = libc.syscall(444, handled, ctypes.c_size_t(size), 0)
    if rules < 0:
        return False
    try:
        for path in (*places.open_roots(), *places.readable):
            _allow(libc, rules, path, _READ)
        for path in places.writable:
            _allow(libc, rules, path, _READ | write & ~_MAKE_ODD)
        return bool(libc.syscall(446, rules, 0) == 0) and complete
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: str, rights: int) -> None:
    with contextlib.suppress(OSError):  # what isn't there needs no rule
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rights = rights if os.path.isdir(path) else rights & _FILE_RIGHTS
            libc.syscall(445, rules, 1, struct.pack("=Qi", rights, place), 0)
        finally:
            os.close(place)


def _restrict_calls(libc: ctypes.CDLL, programs: bool) -> bool:
    """A filter in the kernel's own little language, for every thread: refuse the calls above, allow the others.

    With `programs` those that start one are among the others.
    """
    if platform.machine() not in _REFUSED:
        return False
    arch, seccomp, refused, judged = _REFUSED[platform.machine()]
    refused = {name: call for name, call in refused.items() if not programs or name not in _STARTS}

    def load(offset: int) -> bytes:
        return struct.pack("HBBI", 0x20, 0, 0, offset)

    def skip(kind: int, value: int, yes: int, no: int) -> bytes:
        return struct.pack("HBBI", 0x05 | kind, yes, no, value)

    def answer(value: int) -> bytes:
        return struct.pack("HBBI", 0x06, 0, 0, value)

    def unless(call: int, *conditions: bytes) -> list[bytes]:
        """Refuse a call unless one of the conditions on its first argument jumps behind the refusal."""
        return [skip(equal, call, 0, len(conditions) + 3), load(16), *conditions, refuse, number]

    equal, at_least, some_bit = 0x10, 0x30, 0x40
    number, refuse = load(0), answer(_EPERM)
    # Other interfaces of the same processor (32 bit, x32) have numbers of their own.
    program = [load(4), skip(equal, arch, 1, 0), refuse, number, skip(at_least, 0x40000000, 0, 1), refuse]
    for call in refused.values():
        program += [skip(equal, call, 0, 1), refuse]
    # The flags of clone3 can't be seen here; told that there is none, glibc falls back to clone.
    program += [skip(equal, judged["clone3"], 0, 1), answer(_ENOSYS)]
    # New threads but no processes, or these, but none that is root in a world of its own; sockets of the local kinds
    # only (without connect), signals to itself only.
    thread, namespaces = skip(some_bit, 0x10000, 1, 0), skip(some_bit, 0x7E020000, 0, 1)
    program += unless(judged["clone"], namespaces if programs else thread)
    program += unless(judged["socket"], skip(equal, 1, 2, 0), skip(equal, 16, 1, 0))
    program += unless(judged["kill"], skip(equal, os.getpid(), 1, 0))
    program += unless(judged["tgkill"], skip(equal, os.getpid(), 1, 0))
    code = ctypes.create_string_buffer(b"".join([*program, answer(_ALLOW)]))
    filters = struct.pack("HxxxxxxP", len(program) + 1, ctypes.addressof(code))
    return bool(libc.syscall(seccomp, _SECCOMP_FILTER, _TSYNC, filters) == 0)
