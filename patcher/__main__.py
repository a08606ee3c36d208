"""The `patcher` command as a process: its signals, its streams and how it ends. `patcher.cli` does the work."""

from __future__ import annotations

import gc
import io
import os
import sys
from typing import NoReturn

from patcher.sandbox.process import INTERRUPTED, Interrupted, exit_now, install_signal_handlers
from patcher.source.request_limit import REQUEST_LIMIT


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    gc.set_threshold(50_000)  # collect seldom: each time walks through all imported modules, most of a command's work
    REQUEST_LIMIT.install = True
    try:
        install_signal_handlers()
        _prepare_streams()
        from patcher.cli import main as run

        code = run()
    except Interrupted:  # before or after the command, which prints the same
        sys.stderr.write("Error: {}\nHint: {}\n".format(*INTERRUPTED))
        code = 130
    exit_now(code)


def _prepare_streams() -> None:
    """Let a terminal without UTF-8 print everything, and a caller close any of the three."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in the order of their descriptors
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
