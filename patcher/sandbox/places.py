"""Says which files model code may read and write while it is verified."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PRIVATE = "PATCHER_PRIVATE"  # environment variable of the child: the caller's home, caches and token file
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/shm", "/dev/dri", "/dev/kfd")
_MANY = 1000


@dataclass(frozen=True)
class Places:
    """Real paths. What is below `private` may not be read unless it is below `readable` as well."""

    private: tuple[str, ...]
    readable: tuple[str, ...]
    writable: tuple[str, ...]

    def may_read(self, path: str) -> bool:
        return not _below(path, self.private) or _below(path, self.readable) or _below(path, self.writable)

    def may_write(self, path: str) -> bool:
        return _below(path, self.writable)

    def open_roots(self) -> list[str]:
        """Folders and files that hold nothing private and together are everything else, for rules that only allow."""
        roots = ["/"]
        for private in sorted(self.private):  # a folder before what is in it
            while holder := next((root for root in roots if _below(private, (root,))), None):
                roots.remove(holder)
                if holder != private:
                    roots += _children(holder)
        return roots


def child_places(scratch: Path, given: Iterable[str]) -> Places:
    """What a child may touch: its scratch folder, the files it was given, and Python's own.

    Private are the homes of the caller, caches and token file of the Hub's client, temporary files of others, and what
    running services keep (`/run`, `/var`: sockets, and secrets that are mounted there), and other processes.
    """
    callers = os.environ.get(PRIVATE, "").split(os.pathsep)
    named = [*callers, str(scratch.parent), "/tmp", "/run", "/var", "/proc", "/dev/mqueue"]
    devices = [*_DEVICES, *(str(path) for path in Path("/dev").glob("nvidia*"))]
    libraries = [*sys.path, sys.prefix, sys.base_prefix, *os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)]
    return Places(
        private=tuple(path for path in _real([*named, *_homes()]) if path != os.sep),
        readable=_real([*libraries, *_machine(), *_followed(given)]),
        writable=_real([str(scratch), *devices, f"/proc/{os.getpid()}"]),
    )


def caller_places() -> str:
    """The value of PRIVATE: what only the caller knows, because its environment names it."""
    from huggingface_hub import constants

    paths = [str(Path.home()), constants.HF_HOME, constants.HF_TOKEN_PATH, constants.HF_STORED_TOKENS_PATH]
    return os.pathsep.join(os.path.abspath(os.path.expanduser(path)) for path in paths)


def _homes() -> list[str]:
    if os.name != "posix":
        return []
    import pwd

    try:
        return [pwd.getpwuid(os.getuid()).pw_dir]
    except KeyError:  # a container that runs under a number without a name
        return []


def _machine() -> list[str]:
    """What /proc says of the machine, not of processes: their environments hold tokens."""
    return [path for path in _children("/proc") if not os.path.basename(path).isdigit()]


def _followed(given: Iterable[str]) -> list[str]:
    """The paths, and below folders what the links in them lead to."""
    found = list(given)
    for path in tuple(found):
        found += [str(link) for link in Path(path).rglob("*") if link.is_symlink()]
    return found


def _real(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(os.path.realpath(path) for path in paths if path))


def _below(path: str, roots: Iterable[str]) -> bool:
    return any(path == root or path.startswith(root.rstrip(os.sep) + os.sep) for root in roots)


def _children(folder: str) -> list[str]:
    """What lies in a folder; nothing where that is very much (the homes of a university) or can't be seen."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    paths = [os.path.join(folder, name) for name in names] if len(names) <= _MANY else []
    return [path for path in paths if not os.path.islink(path)]
