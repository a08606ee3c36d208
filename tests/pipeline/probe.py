"""A child for the tests of the zygote: says what it finds in its process, and spoils it as told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def main(asked: str, answered: str) -> None:
    torch_was_there = "torch" in sys.modules
    import torch
    from transformers import dynamic_module_utils

    request = json.loads(Path(asked).read_text())
    dynamic_module_utils.create_dynamic_module("transformers_modules")
    import transformers_modules

    answer = {
        "torch_was_there": torch_was_there,
        "parent": os.getppid(),
        "spoiled": [hasattr(torch, "spoiled"), hasattr(transformers_modules, "spoiled"), "SPOILED" in os.environ],
        "remote_code": [str(path) for path in Path(dynamic_module_utils.HF_MODULES_CACHE).rglob("*.py")],
        "cache": str(Path(dynamic_module_utils.HF_MODULES_CACHE).resolve()),
        "home": str(Path.home().resolve()),
        "token": os.environ.get("HF_TOKEN"),
        "files": _open_files(),
        "left": subprocess.Popen(["sleep", "97"]).pid,
    }
    torch.spoiled = transformers_modules.spoiled = True  # type: ignore[attr-defined]
    os.environ["SPOILED"] = "1"
    (Path(dynamic_module_utils.HF_MODULES_CACHE) / "spoiled.py").write_text("")
    if request["do"] == "sleep":
        time.sleep(60)
    if request["do"] == "crash":
        raise ValueError("the model is a teapot")
    if request["do"] == "kill the parent":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    Path(answered).write_text(json.dumps(answer))


def _open_files() -> list[str]:
    found = []
    for number in range(3, 256):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return found
