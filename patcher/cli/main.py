"""The command line as a function: arguments in, exit code out."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Sequence

from patcher import errors
from patcher.cli import card, check, encode, evaluate, export, patch, plan, publish, repair, search, threshold, verify
from patcher.cli.app import app
from patcher.cli.console import Console
from patcher.errors import OutputError, PatcherError
from patcher.sandbox.process import INTERRUPTED, Interrupted

# Importing them adds them to the app.
COMMANDS = (plan, patch, repair, verify, card, publish, check, threshold, encode, search, evaluate, export)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 for a failure, 2 for wrong usage, 130 when interrupted.

    Without `argv` the arguments are those of the process. Changes no state of the process: see `patcher.__main__`.
    """
    logger = logging.getLogger("patcher")
    handlers, level = logger.handlers[:], logger.level
    try:
        app(args=list(argv) if argv is not None else None, prog_name="patcher")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except (Interrupted, Exception) as error:
        return _report(error)
    finally:  # a command's console listens to the logger
        logger.handlers[:] = handlers
        logger.setLevel(level)
    return 0


def _report(error: BaseException) -> int:
    """Print what is wrong and what to do, and return the exit code. HF_DEBUG adds the traceback."""
    console = Console()
    if os.environ.get("HF_DEBUG") and not isinstance(error, Interrupted):
        console.talk(traceback.format_exc())
    explained = _explained(error)
    console.error(explained)
    return explained.exit_code


def _explained(error: BaseException) -> PatcherError:
    if isinstance(error, Interrupted):
        return errors.Interrupted(*INTERRUPTED)
    if isinstance(error, PatcherError):
        return error
    if isinstance(error, OSError) and error.errno in errors.NO_SPACE:
        return errors.from_os(error, error.filename or os.curdir)
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return OutputError(f"{error.strerror or error}{where}.", "HF_DEBUG=1 shows where.")
    what = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return PatcherError(f"Unexpected error: {what}.", "HF_DEBUG=1 shows where; please report it.")
