"""Proves a patched folder right by running it; everything that imports torch stays in a child process.

What the package offers is imported when it is first asked for: a child process must not pay for its parent's work.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patcher.verify.checks import MIN_LOGIT_SPARSITY
    from patcher.verify.report import Check, Report, load_report
    from patcher.verify.settings import Verification
    from patcher.verify.verification import base_code, conclude, hash_folder, prepare, verify

_HOMES = {
    "MIN_LOGIT_SPARSITY": "checks",
    "Check": "report",
    "Report": "report",
    "load_report": "report",
    "Verification": "settings",
    "base_code": "verification",
    "conclude": "verification",
    "hash_folder": "verification",
    "prepare": "verification",
    "verify": "verification",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(name)
    return getattr(import_module(f"patcher.verify.{_HOMES[name]}"), name)


__all__ = [
    "MIN_LOGIT_SPARSITY",
    "Check",
    "Report",
    "Verification",
    "base_code",
    "conclude",
    "hash_folder",
    "load_report",
    "prepare",
    "verify",
]
