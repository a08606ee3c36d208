"""Consent before code of a model runs: what would run, where to read it, and what the patch changes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from patcher.cli.console import Console, Diff
from patcher.cli.hints import hub_page
from patcher.errors import Cancelled, TrustRequired, see

if TYPE_CHECKING:
    from patcher.source.snapshot import Source


def require_trust(
    console: Console,
    code: Mapping[str, bytes],
    source: Source | Path | str,
    *,
    trusted: bool,
    changed: Mapping[str, object] = {},
    diff: str = "",
    may_skip: bool = False,
) -> None:
    """Require consent to run `code`: by the flag, or at a prompt that shows each file, its SHA-256 and the diff.

    `source` is where the files are, or in words what they belong to; `changed` are those that `diff` changes, and
    which will run as their hash says; `may_skip` says that the command has --no-verify. Raises TrustRequired where
    nobody can answer, Cancelled after a no.
    """
    if trusted:
        return
    if console.asks:
        console.talk(f"This runs code from {source}:")
        for path, content in sorted(code.items()):
            console.talk(f"  {path}{', with the changes below' if path in changed else ''}")
            if link := where(source, path):
                console.talk(f"    {link}")
            console.talk(f"    sha256 {hashlib.sha256(content).hexdigest()}")
        if diff:
            console.talk("")
            console.talk(Diff(diff))
    agreed = console.confirm("Run it?")
    if agreed is None:
        raise TrustRequired(
            "This runs the model's own code, which was not confirmed.",
            f"Read {'the code' if not code else ', '.join(sorted(code)[:3])} in {source}, then add --trust-remote-code"
            f"{', or --no-verify to write the folder without running the model' if may_skip else ''}."
            + see("not-confirmed"),
        )
    if not agreed:
        raise Cancelled("Cancelled; nothing was run.", "")


def where(source: Source | Path | str, path: str) -> str:
    """Where to read a file: on the Hub at exactly that revision, or on this machine; "" where that is not known."""
    from patcher.source.snapshot import Source

    if isinstance(source, Source) and source.repo_id is not None:
        return hub_page(source.repo_id, source.revision, f"blob/{path}")
    folder = (source.folder or source.path) if isinstance(source, Source) else source
    return "" if isinstance(source, str) or folder is None else str(Path(folder, path))
