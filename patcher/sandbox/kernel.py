"""Restricts this process by the Linux kernel, compiled code included: Landlock and seccomp.

Both need no privileges and can't be undone. What an older kernel or another system does not offer is skipped.
https://docs.kernel.org/userspace-api/landlock.html, https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
import sys

from patcher.sandbox.access import AccessPolicy

FILE_SIZE = 1 << 28  # largest size of a written file in bytes

# Landlock: rights that a rule may allow, by the interface version that introduced them. All rights to write are
# handled; those that make devices, pipes, sockets and links are never allowed.
_READ, _WRITE, _MAKE_ODD = 0b1100, 0b0001_1111_1111_0010, 0b0001_1110_0100_0000
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_FILE_RIGHTS = 0b0110 | _TRUNCATE  # what a rule about a file may name
_NO_NEW_PRIVS, _SECCOMP_FILTER, _TSYNC = 38, 1, 1

_STARTS = {"fork", "vfork", "execve"}
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
# Per architecture: its audit number, the number of seccomp(2), system calls to refuse, and calls to refuse by their
# first argument. io_uring and bpf could bypass the other rules; a kernel keyring holds secrets.
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


def restrict_kernel(policy: AccessPolicy, file_size: int | None = FILE_SIZE, *, programs: bool = False) -> bool:
    """Restrict this process as far as its kernel can: files by Landlock, calls by seccomp, the size of written files.

    With `programs` it may start other programs, but only if the kernel restricts these too: they inherit the rules of
    Landlock and seccomp. Returns whether it may.
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
    programs = _restrict_files(libc, policy) and programs
    return _restrict_calls(libc, programs=programs) and programs


def _restrict_files(libc: ctypes.CDLL, policy: AccessPolicy) -> bool:
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
        for path in (*policy.public_roots(), *policy.readable):
            _allow(libc, rules, path, _READ)
        for path in policy.writable:
            _allow(libc, rules, path, _READ | write & ~_MAKE_ODD)
        return bool(libc.syscall(446, rules, 0) == 0) and complete
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: str, rights: int) -> None:
    with contextlib.suppress(OSError):  # what does not exist needs no rule
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rights = rights if os.path.isdir(path) else rights & _FILE_RIGHTS
            libc.syscall(445, rules, 1, struct.pack("=Qi", rights, descriptor), 0)
        finally:
            os.close(descriptor)


def _restrict_calls(libc: ctypes.CDLL, *, programs: bool) -> bool:
    """Install a seccomp filter for every thread: it refuses the calls above and allows the others.

    With `programs`, calls that start a program are allowed.
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
        """Refuse a call unless one of the conditions on its first argument jumps past the refusal."""
        return [skip(equal, call, 0, len(conditions) + 3), load(16), *conditions, refuse, number]

    equal, at_least, some_bit = 0x10, 0x30, 0x40
    number, refuse = load(0), answer(_EPERM)
    # Other interfaces of the same processor (32 bit, x32) number their calls differently.
    program = [load(4), skip(equal, arch, 1, 0), refuse, number, skip(at_least, 0x40000000, 0, 1), refuse]
    for call in refused.values():
        program += [skip(equal, call, 0, 1), refuse]
    # A filter can't see the flags of clone3; glibc falls back to clone if it is not implemented.
    program += [skip(equal, judged["clone3"], 0, 1), answer(_ENOSYS)]
    # New threads but no processes, or processes but no new namespaces; only local sockets (without connect); signals
    # only to itself.
    thread, namespaces = skip(some_bit, 0x10000, 1, 0), skip(some_bit, 0x7E020000, 0, 1)
    program += unless(judged["clone"], namespaces if programs else thread)
    program += unless(judged["socket"], skip(equal, 1, 2, 0), skip(equal, 16, 1, 0))
    program += unless(judged["kill"], skip(equal, os.getpid(), 1, 0))
    program += unless(judged["tgkill"], skip(equal, os.getpid(), 1, 0))
    code = ctypes.create_string_buffer(b"".join([*program, answer(_ALLOW)]))
    filters = struct.pack("HxxxxxxP", len(program) + 1, ctypes.addressof(code))
    return bool(libc.syscall(seccomp, _SECCOMP_FILTER, _TSYNC, filters) == 0)
