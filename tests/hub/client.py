"""Run a piece of client code in a process of its own, where HF_ variables can be chosen."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["run_client"]

PROLOGUE = "import io, json, os, sys\nfrom huggingface_hub import *\napi = HfApi()\nresult = None\n"
EPILOGUE = "\nprint('RESULT ' + json.dumps(result))\n"


def run_client(env: Mapping[str, str], code: str, *, xet: bool = True, timeout: float = 60) -> Any:
    """Run `code`, with `api` at hand, and return what it assigned to `result`. A traceback fails the test."""
    variables = dict(env) | ({} if xet else {"HF_HUB_DISABLE_XET": "1"})
    done = subprocess.run(
        [sys.executable, "-c", PROLOGUE + code + EPILOGUE],
        env=variables,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    return json.loads(line.removeprefix("RESULT "))
