"""The `patcher` command: the process that will run a model imports its libraries while this one does its own work."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NoReturn

from patcher.sandbox.process import INTERRUPTED, Interrupted, exit_now, install_signal_handlers

if TYPE_CHECKING:
    from patcher.sandbox.guard import Child

CHILD = "patcher.verify.measure.child"


def main() -> NoReturn:
    """Run the command line and leave with its exit code. Nothing of a model is read before somebody agreed to that."""
    gc.disable()  # a short process: collecting would walk through all imported modules every time
    try:
        install_signal_handlers()
        device = waited_for(sys.argv[1:])
        with _started(device) if device is not None else nullcontext() as child:
            from patcher.cli import main as run

            code = run(child=child)
    except Interrupted:  # before or after the command, which says so itself
        print("Error: {}\nHint: {}".format(*INTERRUPTED), file=sys.stderr)
        code = 130
    exit_now(code)


def _started(device: str) -> AbstractContextManager[Child | None]:
    from patcher.sandbox.guard import started

    return started(CHILD, device)


def waited_for(arguments: Sequence[str]) -> str | None:
    """The first device of a `patcher verify`, None for any other command.

    A guess from the words alone: where it is wrong, the verification starts another process.
    """
    if list(arguments[:1]) != ["verify"] or {"-h", "--help"}.intersection(arguments):
        return None
    words = "auto"
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word == "--device":
            words = following
        elif word.startswith("--device="):
            words = word.partition("=")[2]
    return words.split(",")[0]


if __name__ == "__main__":
    main()
