"""The `patcher` command."""

from patcher.cli.app import app
from patcher.cli.main import main

__all__ = ["app", "main"]
