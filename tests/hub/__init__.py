"""A local Hugging Face Hub for tests: see `LocalHub`."""

from __future__ import annotations

from .faults import Fault
from .hooks import KillAt
from .objects import Commit, FileEntry
from .server import LocalHub
from .state import Settings
from .traffic import Bytes, RequestRecord

__all__ = ["Bytes", "Commit", "Fault", "FileEntry", "KillAt", "LocalHub", "RequestRecord", "Settings"]
