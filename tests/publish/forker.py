"""Runs `patcher` commands in forks of one process that has imported everything, so that each costs milliseconds.

One JSON object per line on stdin: `argv`, `stdout`, `stderr` (paths), `env` (added; None removes). It answers with the
process id at once, and with the exit code (negative for a signal) when the command has ended. Pauses between tries last
a fiftieth of what they say; how long a command waits is read from what it says. A command with other settings of
huggingface_hub, which reads them when it is imported, runs in an interpreter of its own, with full pauses.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import time
import traceback

# What commands import only when they need it, beyond what `_rehearse` makes them import.
LAZY = (
    "cattrs.gen",
    "huggingface_hub._commit_api",
    "huggingface_hub._snapshot_download",
    "huggingface_hub.file_download",
    "huggingface_hub.hf_api",
    "huggingface_hub.repocard",
    "jinja2",
    "patcher.documents.card",
    "patcher.pipeline.api",
    "rich.progress",
    "rich.table",
)


def main() -> None:
    import patcher.cli
    from patcher.sandbox.process import install_signal_handlers
    from patcher.source.request_limit import REQUEST_LIMIT

    REQUEST_LIMIT.install = True  # as `patcher.__main__` does
    for name in LAZY:
        importlib.import_module(name)
    _rehearse(patcher.cli.main)

    install_signal_handlers()
    sleep = time.sleep
    time.sleep = lambda seconds: sleep(seconds / 50)
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(order, patcher.cli.main)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _rehearse(command) -> None:  # type: ignore[no-untyped-def]
    """Publish a folder that is not there: a command that has imported everything before it fails."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert command(["publish", os.devnull, "ola/model"]) != 0


def _run(order: dict, command) -> None:  # type: ignore[no-untyped-def,type-arg]
    code = 70
    try:
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        changed = {name: value for name, value in order["env"].items() if os.environ.get(name) != value}
        for name, value in changed.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
        if not changed.keys() <= {"HF_TOKEN"}:
            os.execv(sys.executable, [sys.executable, "-m", "patcher", *order["argv"]])
        code = command(order["argv"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
