"""Says which files model code may read and write while it is verified."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PRIVATE = "PATCHER_PRIVATE"  # environment variable of the child: the caller's home, caches and token file
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/shm", "/dev/dri", "/dev/kfd")
_MAX_CHILDREN = 1000


@dataclass(frozen=True)
class AccessPolicy:
    """Real paths. What is below `private` may be read only if it is below `readable` or `writable` as well."""

    private: tuple[str, ...]
    readable: tuple[str, ...]
    writable: tuple[str, ...]

    def may_read(self, path: str) -> bool:
        """Whether a real path may be read."""
        return not _below(path, self.private) or _below(path, self.readable) or _below(path, self.writable)

    def may_write(self, path: str) -> bool:
        """Whether a real path may be written, created or removed."""
        return _below(path, self.writable)

    def public_roots(self) -> list[str]:
        """The folders and files that together hold everything but `private`, for rules that can only allow."""
        roots = ["/"]
        for private in sorted(self.private):  # a folder before its contents
            while parent := next((root for root in roots if _below(private, (root,))), None):
                roots.remove(parent)
                if parent != private:
                    roots += _children(parent)
        return roots


def child_policy(scratch: Path, readable: Iterable[str]) -> AccessPolicy:
    """What a child may access: its scratch folder, the files in `readable`, and Python's own.

    Private are the caller's home folders, the caches and the token file of the Hub's client, temporary files of other
    processes, sockets and mounted secrets (`/run`, `/var`), and what `/proc` says about other processes.
    """
    callers = os.environ.get(PRIVATE, "").split(os.pathsep)
    named = [*callers, str(scratch.parent), "/tmp", "/run", "/var", "/proc", "/dev/mqueue"]
    devices = [*_DEVICES, *(str(path) for path in Path("/dev").glob("nvidia*"))]
    # The entries of /proc about the machine. Those about processes show their environments, which hold tokens.
    machine = [path for path in _children("/proc") if not os.path.basename(path).isdigit()]
    given = list(readable)
    links = [str(link) for path in given for link in Path(path).rglob("*") if link.is_symlink()]  # their targets
    libraries = [*sys.path, sys.prefix, sys.base_prefix, *os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)]
    return AccessPolicy(
        private=tuple(path for path in _real([*named, *_homes()]) if path != os.sep),
        readable=_real([*libraries, *machine, *given, *links]),
        writable=_real([str(scratch), *devices, f"/proc/{os.getpid()}"]),
    )


def private_paths() -> str:
    """The value of PRIVATE: the paths that only the environment of the caller names."""
    from huggingface_hub import constants

    paths = [str(Path.home()), constants.HF_HOME, constants.HF_TOKEN_PATH, constants.HF_STORED_TOKENS_PATH]
    return os.pathsep.join(os.path.abspath(os.path.expanduser(path)) for path in paths)


def _homes() -> list[str]:
    with contextlib.suppress(ImportError, KeyError):  # Windows; a container whose user id has no name
        import pwd

        return [pwd.getpwuid(os.getuid()).pw_dir]
    return []


def _real(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(os.path.realpath(path) for path in paths if path))


def _below(path: str, roots: Iterable[str]) -> bool:
    return any(path == root or path.startswith(root.rstrip(os.sep) + os.sep) for root in roots)


def _children(folder: str) -> list[str]:
    """What a folder holds without links; empty if it holds too much (the homes of a university) or can't be read."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    paths = [os.path.join(folder, name) for name in names] if len(names) <= _MAX_CHILDREN else []
    return [path for path in paths if not os.path.islink(path)]
