"""The command line as a function: arguments in, exit code out."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer

from patcher import errors
from patcher.cli import (
    card,
    check,
    encode,
    evaluate,
    export,
    patch,
    plan,
    publish,
    repair,
    search,
    templates,
    threshold,
    verify,
)
from patcher.cli.app import app
from patcher.cli.console import Console
from patcher.errors import OutputError, PatcherError
from patcher.sandbox.process import INTERRUPTED, Interrupted, was_interrupted

_CLICK_ERROR: Any = typer.BadParameter.__mro__[2]  # ClickException, of click or of the copy in typer

# Importing them adds them to the app.
COMMANDS = (plan, patch, repair, verify, card, publish, check, templates, threshold, encode, search, evaluate, export)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    That is 0, 1 for a failed check, 2 for wrong usage, 3 for what could not be done or measured, 130 when interrupted.
    Without `argv` the arguments are those of the process. Changes no state of the process: see `patcher.__main__`.
    """
    try:
        code = app(args=list(argv) if argv is not None else None, prog_name="patcher", standalone_mode=False)
    except SystemExit as end:  # of shell completion
        return end.code if isinstance(end.code, int) else 3
    except _CLICK_ERROR as error:
        return _wrong_usage(error)
    except (Interrupted, Exception) as error:
        return _report(error)
    return code if isinstance(code, int) else 0


def _wrong_usage(error: Any) -> int:
    """Print what is wrong with the words of a command line; help where there were none."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stdout.write(f"{error.format_message()}\n")
        return 2
    command = context.command_path if context is not None else "patcher"
    what = " ".join(error.format_message().replace("Value error, ", "").split())
    return _report(errors.UsageError(_sentence(what), f"Run `{command} --help` for its usage."))


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _report(error: BaseException) -> int:
    """Print what is wrong and what to do, and return the exit code. HF_DEBUG adds the traceback."""
    if isinstance(error, OSError) and error.errno == errno.EPIPE:  # whoever read the output has seen enough
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        return 3
    console = Console()
    if os.environ.get("HF_DEBUG") and not was_interrupted(error):
        console.talk(traceback.format_exc())
    explained = _explained(error)
    console.error(explained)
    return explained.exit_code


def _explained(error: BaseException) -> PatcherError:
    if not isinstance(error, errors.Interrupted) and was_interrupted(error):
        return errors.Interrupted(*INTERRUPTED)
    if isinstance(error, PatcherError):
        return error
    if isinstance(error, OSError) and error.errno in errors.NO_SPACE:
        if error.filename is None and not errors.full_temporary_folder(os.curdir):
            return OutputError(
                "No space left on a disk that this command writes to.", "Free disk space, then try again."
            )
        return errors.from_os(error, error.filename or os.curdir)
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        hint = "Check that path, or use another" if where else "Run the same command again"
        return OutputError(f"{error.strerror or error}{where}.", f"{hint}; HF_DEBUG=1 prints the traceback.")
    what = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return PatcherError(f"Unexpected error: {what}.", "Please report it with the traceback that HF_DEBUG=1 prints.")
