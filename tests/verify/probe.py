"""A child for the tests of the guard: says what it can see, or misbehaves as told."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path


def main(asked: str, answered: str) -> None:
    from huggingface_hub import constants, get_token

    from patcher.verify.guard import close_network

    request = json.loads(Path(asked).read_text())
    close_network()
    if request["do"] == "sleep":
        os.fork()
        time.sleep(60)
    if request["do"] == "crash":
        raise ValueError("the model is a teapot")
    left = subprocess.Popen(["sleep", "97"]).pid if request["do"] == "leave" else None
    reached = []
    for address in ("127.0.0.1", "huggingface.co"):
        try:
            socket.create_connection((address, request.get("port", 80)), timeout=2).close()
            reached.append(address)
        except PermissionError:
            pass
    answer = {
        "environment": dict(os.environ),
        "token": get_token(),
        "token_path": constants.HF_TOKEN_PATH,
        "offline": constants.HF_HUB_OFFLINE,
        "reached": reached,
        "left": left,
    }
    Path(answered).write_text(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
