"""Run a local Hub in the foreground: `python -m tests.hub --root FOLDER`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path

from .server import LocalHub


def main(argv: list[str] | None = None) -> int:
    """Start, print one JSON line with the addresses, and wait for SIGTERM or SIGINT."""
    options = _parser().parse_args(argv)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        hub = LocalHub(options.root, port=options.port)
        hub.start()
    except FileExistsError as error:
        print(f"{error}.\nChoose an empty or new folder with --root.", file=sys.stderr)
        return 1
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        print(f"The local Hub can't listen on port {options.port}: {reason}.", file=sys.stderr)
        print("Choose another with --port, or leave it out.", file=sys.stderr)
        return 1
    try:
        hub.add_user(options.user, options.token)
        seeded = {repo_id: hub.seed(repo_id, folder) for repo_id, folder in options.seed}
        ready = {
            "endpoint": hub.endpoint,
            "cdn_endpoint": hub.cdn_endpoint,
            "user": options.user,
            "repos": seeded,
        }
        print(json.dumps(ready), flush=True)
        # With a time limit, because an unlimited wait doesn't see signals on every platform.
        while not stopped.wait(timeout=1.0):
            pass
    finally:
        hub.stop()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.hub", description=__doc__)
    parser.add_argument("--root", type=Path, help="where content lies (default: a temporary folder)")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--user", default="demo")
    parser.add_argument("--token", default="hf_demo_write")
    parser.add_argument("--seed", type=_seed, action="append", default=[], metavar="REPO_ID=FOLDER")
    return parser


def _seed(text: str) -> tuple[str, Path]:
    repo_id, _, folder = text.partition("=")
    if "/" not in repo_id or not Path(folder).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not REPO_ID=FOLDER with an existing folder")
    return repo_id, Path(folder)


if __name__ == "__main__":
    raise SystemExit(main())
