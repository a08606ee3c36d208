"""Which names of files, repositories and classes of a model can be trusted."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from patcher.errors import SourceError, see
from patcher.printable import is_visible

MAX_FILES = 10_000
_REPOSITORY = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9_][\w.-]{0,95}(?:/[A-Za-z0-9_][\w.-]{0,95})?", re.ASCII)
_VARIATION = re.compile(
    "[\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)  # of the character before: in a name, unseen
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)


def check_names(paths: Iterable[str], source: object) -> None:
    """Refuse a model with a file name that escapes its folder or means another file on some system.

    The output folder has to be the same model on Linux, macOS and Windows. Raises SourceError.
    """
    seen: dict[str, str] = {}
    for path in paths:
        why = why_unsafe(path)
        if why is not None:
            raise _refused(source, f"names a file {path!r}, {why}")
        same = unicodedata.normalize("NFC", path).casefold()
        if same in seen:
            raise _refused(source, f"names both {seen[same]!r} and {path!r}, which are one file where case is ignored")
        seen[same] = path
        if len(seen) > MAX_FILES:
            raise _refused(source, f"has more than {MAX_FILES:,} files")


def why_unsafe(path: str) -> str | None:
    """Why a relative path with slashes may not be written, as the end of a sentence; None where it may."""
    parts = path.split("/")
    lengths = [len(part.encode("utf-8", "surrogatepass")) for part in (*parts, path)]
    reasons = {
        "which is an absolute path or one with a drive": path.startswith("/") or ":" in path,
        "with a backslash, which separates folders on Windows": "\\" in path,
        "with an invisible character": not all(map(is_visible, path)) or _VARIATION.search(path) is not None,
        "which escapes its folder": any(part in {"", ".", ".."} for part in parts),
        "which is another file on Windows": any(part.endswith((".", " ")) or _DEVICE.fullmatch(part) for part in parts),
        "which git would use as its own": any(part.casefold() in {".git", "git~1"} for part in parts),
        "which is too long": max(lengths[:-1]) > 255 or lengths[-1] > 1024,
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


def check_auto_map(auto_map: Mapping[str, Any]) -> None:
    """Refuse an auto_map whose values are not `module.Class`, `repo--module.Class` or lists of these (tokenizers).

    Raises SourceError.
    """
    for auto_class, value in auto_map.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None and not _is_reference(one):
                raise SourceError(
                    f"auto_map in config.json names {str(one)[:100]!r} for {auto_class[:100]!r}, which is not "
                    "module.Class.",
                    "Fix config.json: it names a Python file beside it, without .py, and a class in that file."
                    + see("auto-map"),
                )


def is_repository(name: str) -> bool:
    """Whether it can be the id of a repository, and so is neither a path nor a URL."""
    return _REPOSITORY.fullmatch(name) is not None


def _is_reference(value: object) -> bool:
    if not isinstance(value, str):
        return False
    repository, found, dotted = value.rpartition("--")
    parts = dotted.split(".")
    # transformers finds no file in a folder: it takes a second full stop for an error.
    return len(parts) == 2 and all(part.isidentifier() for part in parts) and (not found or is_repository(repository))


def _refused(source: object, what: str) -> SourceError:
    return SourceError(
        f"{source} {what}.", "Nothing more of it was read. Rename the file, or report it to the owners." + see("names")
    )
