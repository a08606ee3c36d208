"""`--rehash` reads every file again: it finds a change that left size and times as they were, as a bad disk does."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from huggingface_hub import constants

from patcher import hashing
from patcher.cli import main
from patcher.codec import to_json
from patcher.hashing import sha256_of
from patcher.patching.record import load
from tests.conftest import ON_CPU, Run
from tests.hub import LocalHub
from tests.sandbox.stand_in import answer_with
from tests.verify.made_up import GOOD

WEIGHTS = "model.safetensors"


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of hashes is that of this test alone."""
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))


def spoil(path: Path) -> tuple[str, str]:
    """Change the last byte, and let the memory take the file for the one it was; the old hash and the new."""
    old = sha256_of(path)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    hashing._save({hashing._key(path.stat()): old})
    assert sha256_of(path) == old
    return old, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("command", ["patch", "repair"])
def test_the_record_has_the_weights_that_are_there(mini: Path, tmp_path: Path, command: str) -> None:
    old, new = spoil(mini / WEIGHTS)
    words = [command, str(mini), "--out", str(tmp_path / "out"), "--no-verify", "--link", "-q"]
    for more, expected in (([], old), (["--rehash"], new)):
        assert main([*words, *more]) == 0
        assert load(tmp_path / "out").weights[0].after == expected


@pytest.mark.usefixtures("memory")
def test_a_verification_says_that_the_weights_changed(
    patched: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(patched / WEIGHTS)
    answer_with(monkeypatch, to_json(GOOD))
    for more, unchanged in (([], True), (["--rehash"], False)):
        code = main(["verify", str(patched), *ON_CPU, "--json", *more])
        checks = {check["name"]: check["passed"] for check in json.loads(capsys.readouterr().out)["checks"]}
        assert (code == 0) is checks["files_unchanged"] is unchanged


@pytest.mark.usefixtures("memory")
def test_weights_that_changed_are_not_published(
    patched: Path, hub: LocalHub, hub_env: dict[str, str], cli: Run
) -> None:
    spoil(patched / WEIGHTS)
    words = ["publish", patched, "ola/model", "--unverified", "--dry-run", "-q"]
    for more, code in (([], 0), (["--rehash"], 3)):
        done = cli(*words, *more, **hub_env, HF_ASSETS_CACHE=constants.HF_ASSETS_CACHE)
        assert done.returncode == code, done.stderr
    assert f"{WEIGHTS} is no longer the file that patch.json records" in done.stderr
