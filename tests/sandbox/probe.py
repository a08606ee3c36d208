"""A child for the tests of the guard: says what it can see, or misbehaves as told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def main(asked: str, answered: str) -> None:
    from huggingface_hub import constants, get_token

    request = json.loads(Path(asked).read_text())
    if request["do"] == "sleep":
        os.fork()
        time.sleep(60)
    if request["do"] == "crash":
        raise ValueError("the model is a teapot")
    left = subprocess.Popen(["sleep", "97"]).pid if request["do"] == "leave" else None
    answer = {
        "environment": dict(os.environ),
        "token": get_token(),
        "token_path": constants.HF_TOKEN_PATH,
        "offline": constants.HF_HUB_OFFLINE,
        "left": left,
    }
    Path(answered).write_text(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
