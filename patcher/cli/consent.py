"""Asks before a model's own code runs."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping

from patcher.cli.console import Console
from patcher.errors import TrustRequired


def require_trust(console: Console, code: Mapping[str, bytes], source: str, *, trusted: bool) -> None:
    """Require consent to run `code`: by the flag, or at a prompt that lists the files and their SHA-256.

    Raises TrustRequired.
    """
    if trusted:
        return
    if sys.stdin.isatty():
        console.talk(f"Verifying runs this code of {source}:")
        for path, content in sorted(code.items()):
            console.talk(f"  {hashlib.sha256(content).hexdigest()}  {path}")
    if not console.confirm("Run it?"):
        raise TrustRequired(
            "Verifying runs the model's own code, which was not confirmed.",
            "Read it with `patcher plan`, then add --trust-remote-code (or --no-verify to `patcher patch`).",
        )
