"""What the client of the Hub and this tool leave in folders: notes of commits, links to blobs, and their names."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path

from patcher.constants import RECORD


def noted_commit(root: Path) -> str | None:
    """The commit that `hf download --local-dir` noted for every file of a folder; None where it is not one commit."""
    notes = (path for path in (root / ".cache" / "huggingface" / "download").rglob("*.metadata"))
    with suppress(OSError, UnicodeDecodeError, IndexError):
        commits = {path.read_text("utf-8").splitlines()[0].strip() for path in notes}
        if len(commits) == 1 and re.fullmatch("[0-9a-f]{40}", commit := commits.pop()):
            return commit
    return None


def stores(root: Path) -> list[Path]:
    """The targets of links of a snapshot in the Hub's cache: the blobs of its repository, and the shared ones.

    A folder that only looks like such a snapshot gains nothing: its own `blobs` would have to contain the files.
    """
    repository = root.parent.parent
    if root.parent.name != "snapshots" or not repository.name.startswith("models--"):
        return []
    return [repository / "blobs", repository.parent / "blobs"]


def linked_weights(folder: Path) -> dict[str, str]:
    """The SHA-256 of the weights of a patched folder that its record calls links.

    The record may be anybody's, but whoever knows the hash of a private file has that file.
    """
    try:
        files = json.loads((folder / RECORD).read_bytes())["files"]
        return {file["path"]: file["sha256_after"] for file in files if file.get("storage") == "symlink"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def named_hash(blob: str) -> dict[str, str | None]:
    """The hash by which the client names a file in its cache: that of git, or the SHA-256 of a large file."""
    kind = {40: "blob_id", 64: "sha256"}.get(len(blob) if re.fullmatch("[0-9a-f]+", blob) else 0)
    return {kind: blob} if kind else {}
