"""A child for the tests of the guard: says what it can see, or misbehaves as told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

from patcher.sandbox.child import Service


def act(request: dict[str, Any]) -> dict[str, Any]:
    from huggingface_hub import constants, get_token

    if request["do"] == "sleep":
        os.fork()
        time.sleep(60)
    if request["do"] == "wait":
        time.sleep(60)
    if request["do"] == "crash":
        raise ValueError("the model is a teapot")
    if request["do"] == "leave":
        subprocess.Popen(["sleep", request["seconds"]], start_new_session=True)
    return {
        "environment": dict(os.environ),
        "token": get_token(),
        "token_path": constants.HF_TOKEN_PATH,
        "offline": constants.HF_HUB_OFFLINE,
        "path": sys.path,
        "alarm": signal.alarm(0),
    }


SERVICE = Service(dict[str, Any], lambda *_: None, act)
