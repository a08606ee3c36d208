"""A folder is published in one call, by a program that imports the package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.hub import LocalHub

PROGRAM = """
import json, sys
from pathlib import Path
import patcher
options = patcher.PublishOptions(private=True, unverified=True)
done = patcher.publish_folder(Path(sys.argv[1]), sys.argv[2], options)
found = patcher.check(sys.argv[2], done.commit)
print(json.dumps([done.passed, found.commit == done.commit]))
"""


def test_a_program_publishes_a_folder_and_checks_it(
    hub: LocalHub, hub_env: dict[str, str], folder: Path, repo_id: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), repo_id], env=hub_env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, True]
    assert "README.md" in hub.files(repo_id)
