"""Runs `patcher` commands in forks of one process that has imported everything, so that each costs milliseconds.

One JSON object per line on stdin: `argv`, `stdout`, `stderr` (paths), `env` (added; None removes). It answers with the
process id at once, and with the exit code (negative for a signal) when the command has ended. Pauses between tries last
a fiftieth of what they say; how long a command waits is read from what it says.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback


def main() -> None:
    import patcher.cli
    from patcher.sandbox.process import install_signal_handlers
    from patcher.source.request_limit import REQUEST_LIMIT

    REQUEST_LIMIT.install = True  # as `patcher.__main__` does

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


def _run(order: dict, command) -> None:  # type: ignore[no-untyped-def,type-arg]
    code = 70
    try:
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for name, value in order["env"].items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
        code = command(order["argv"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
