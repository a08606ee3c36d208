"""Says which files model code may read and write while it is verified."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from patcher.errors import UsageError

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
GPU_DEVICES = ("/dev/dri", "/dev/kfd", "/dev/dxg", *map(str, Path("/dev").glob("nvidia*")))


@dataclass(frozen=True)
class AccessPolicy:
    """Paths, all of them real. What is below `private` may be read only if it is below `readable` or `writable` too.

    `readable` also holds the paths that were given, where they lead through links.
    """

    private: tuple[str, ...]
    readable: tuple[str, ...]
    writable: tuple[str, ...]

    def may_read(self, path: str) -> bool:
        """Whether a real path may be read."""
        return not below(path, self.private) or below(path, self.readable) or below(path, self.writable)

    def may_write(self, path: str) -> bool:
        """Whether a real path may be written, created or removed."""
        return below(path, self.writable)


def child_policy(scratch: Path, readable: Iterable[Path], python: Path | None = None) -> AccessPolicy:
    """What a child may access: its scratch folder, the files and folders in `readable`, and Python's own.

    Links in `readable` are followed to what is not private, and to the blobs of the Hub's cache. `python` is another
    interpreter that the child runs on.

    Private are the caller's home folders, the caches and the token files of the Hub's client, temporary files of other
    processes, sockets and mounted secrets (`/run`, `/var`), devices, and what `/proc` says about other processes.
    Raises UsageError if `readable` names a folder that holds some of that.
    """
    named = [*_callers(), str(scratch.parent), "/tmp", "/run", "/var", "/proc", "/dev"]
    private = tuple(path for path in _real(named) if path != os.sep)
    given = _real(map(str, readable))
    for path in given:
        if (found := _within(private, path)) is not None:
            why = f"{path} contains {found}, which the model's code must not read."
            raise UsageError(why, "Put the model into a folder of its own.")
    found_links = (link for path in given for link in Path(path).rglob("*") if link.is_symlink())
    targets = _real(step for link in found_links for step in _links(str(link)))
    # A downloaded folder may link to anything; the snapshots in the Hub's cache link to blobs.
    links = [path for path in targets if not below(path, private) or "blobs" in Path(path).parts[-3:-1]]
    libraries = [*_libraries(), *(_libraries_of(python) if python else ())]
    own = [path for path in _real(libraries) if _within(private, path) is None]
    return AccessPolicy(
        private, (*own, *given, *links, *machine_entries()), _real([str(scratch), *DEVICES, *GPU_DEVICES])
    )


def machine_entries() -> list[str]:
    """The entries of /proc about the machine. Those about processes show their environments, which hold tokens."""
    return [str(path) for path in Path("/proc").glob("[!0-9]*") if not path.is_symlink()]


def _callers() -> list[str]:
    """The home folders of the caller, and where the Hub's client keeps its files."""
    from huggingface_hub import constants

    hub = (constants.HF_HOME, constants.HF_HUB_CACHE, constants.HF_TOKEN_PATH, constants.HF_STORED_TOKENS_PATH)
    homes = [str(Path.home())]
    with contextlib.suppress(ImportError, KeyError):  # Windows; a container whose user id has no name
        import pwd

        homes.append(pwd.getpwuid(os.getuid()).pw_dir)
    return [*homes, *map(os.path.expanduser, hub)]


def _libraries() -> list[str]:
    """Where Python, its packages and this one lie; not the folder of the script, which may be any."""
    prefixes = {sys.prefix, sys.base_prefix}
    parts = [f"{prefix}/{part}" for prefix in prefixes for part in ("bin", "lib", "lib64", "pyvenv.cfg")]
    searched = [os.environ.get(name, "").split(os.pathsep) for name in ("PYTHONPATH", "LD_LIBRARY_PATH")]
    package = Path(__file__).parents[1]
    paths = [str(package), str(package.parent), *sys.path[1:], *prefixes, *parts, *searched[0], *searched[1]]
    return [*paths, *_links(sys.executable)]


def _libraries_of(python: Path) -> list[str]:
    """The same for another interpreter, which has to be asked. Raises UsageError if it does not run."""
    code = "import json, sys; print(json.dumps([sys.prefix, sys.base_prefix, *sys.path]))"
    try:
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, check=True, timeout=60)
        return [*json.loads(done.stdout), *_links(str(python))]
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise UsageError(f"{python} does not run as a Python interpreter.", "Pass the path of one.") from error


def _links(path: str) -> list[str]:
    """A link and where it leads, step by step: one may lead to another, and each has to exist for the child."""
    paths = [path]
    while os.path.islink(paths[-1]) and len(paths) <= 40:  # as far as Linux follows them
        paths.append(os.path.join(os.path.dirname(paths[-1]), os.readlink(paths[-1])))
    return paths


def _real(paths: Iterable[str]) -> tuple[str, ...]:
    """The paths and their real ones, each once."""
    absolute = [os.path.abspath(path) for path in paths if path]
    return tuple(dict.fromkeys(one for path in absolute for one in (path, os.path.realpath(path))))


def below(path: str, roots: Iterable[str]) -> bool:
    """Whether a path is one of the roots or lies in one."""
    return any(path == root or path.startswith(root.rstrip(os.sep) + os.sep) for root in roots)


def _within(paths: Iterable[str], root: str) -> str | None:
    return next((path for path in paths if below(path, (root,))), None)
