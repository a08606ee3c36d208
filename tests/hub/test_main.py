"""The Hub as a command: one line when it is ready, and a clean end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from tests.hub import LocalHub

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_a_seeded_repository_until_told_to_stop(tmp_path: Path, end: signal.Signals) -> None:
    folder = tmp_path / "model"
    (folder / ".cache").mkdir(parents=True)
    (folder / ".cache" / "hidden").write_text("x")
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(os.urandom(50_000))
    command = [sys.executable, "-m", "tests.hub", "--root", str(tmp_path / "hub"), "--user", "demo"]
    command += ["--token", "hf_demo", "--seed", f"demo/mini={folder}"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    ready = json.loads(server.stdout.readline())
    api = HfApi(ready["endpoint"], token="hf_demo")
    assert api.whoami()["name"] == "demo"
    info = api.model_info("demo/mini")
    assert info.sha == ready["repos"]["demo/mini"]
    assert [s.rfilename for s in info.siblings] == [".gitattributes", "config.json", "model.safetensors"]
    (weights,) = api.get_paths_info("demo/mini", ["model.safetensors"])
    assert weights.xet_hash is not None
    server.send_signal(end)
    assert server.wait(timeout=10) == 0


def test_a_port_that_is_taken_is_said_in_plain_words(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "tests.hub", "--root", str(tmp_path), "--port", port]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"The local Hub can't listen on port {port}: Address already in use.",
        "Choose another with --port, or leave it out.",
    ]


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    command = [sys.executable, "-m", "tests.hub", "--root", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "is not empty and was not made by a local Hub" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_second_run_on_the_same_folder_starts_afresh(tmp_path: Path) -> None:
    for _ in range(2):
        with LocalHub(tmp_path / "hub") as hub:
            hub.add_user("ola", "hf_ola")
            hub.create_repo("ola/x")
            HfApi(hub.endpoint, token="hf_ola").upload_file(
                path_or_fileobj=os.urandom(1000), path_in_repo="a.bin", repo_id="ola/x"
            )
            assert len(hub.commits("ola/x")) == 2
