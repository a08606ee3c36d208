"""What a run lacks is told before anything runs: one error with its remedy, exit code 3, and the last report stays."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from patcher.cli import main
from patcher.errors import MissingRequirement, SourceError, VerificationError
from patcher.patching.record import load
from patcher.sandbox import guard
from patcher.verify import preconditions
from patcher.verify.measure.logits import measure
from patcher.verify.preconditions import check_files, check_folder, check_machine
from patcher.verify.requests import prepare
from patcher.verify.settings import check_available
from patcher.verify.verification import verify
from tests.conftest import MINI, ON_CPU, ROOT
from tests.hub import LocalHub
from tests.verify.running import edit, wanted

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{0:064}\nsize 6529776\n"
WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"


def _truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)


def _point(path: Path) -> None:
    path.write_text(POINTER)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _cut_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def _unreadable(path: Path) -> None:
    """A folder of that name, which no user can read as a file (the tests may run as root)."""
    path.unlink()
    path.mkdir()


BROKEN: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "truncated": (_truncate, WEIGHTS, "is truncated: it has 6,529,775 bytes instead of 6,529,776"),
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"0"), WEIGHTS, "is damaged: it has 6,529,777 bytes"),
    "pointer": (_point, WEIGHTS, "is a Git LFS pointer"),
    "empty": (_empty, WEIGHTS, "is empty"),
    "cut in its header": (_cut_header, WEIGHTS, "is truncated"),
    "something else": (lambda path: path.write_bytes(b"<html>" * 99), WEIGHTS, "is not a safetensors file"),
    "not to be read": (_unreadable, "config.json", "can't be read"),
    "no configuration": (lambda path: path.write_text("{"), "config.json", "is not valid JSON"),
    "tokenizer pointer": (_point, TOKENIZER, "is a Git LFS pointer"),
    "tokenizer broken": (lambda path: path.write_text('{"model": '), TOKENIZER, "is not valid JSON"),
    "no tokenizer in it": (lambda path: path.write_text("{}"), TOKENIZER, "is not a tokenizer"),
    "tokenizer gone": (Path.unlink, TOKENIZER, "is missing"),
    "weights gone": (Path.unlink, WEIGHTS, "holds no weights"),
    "code gone": (Path.unlink, "modeling_gptbert.py", "is missing"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_one_error_with_a_remedy_and_its_report_and_card_stay(
    patched: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    change, name, what = BROKEN[case]
    change(patched / name)
    kept = {patched / "report.json": b'{"good": 1}\n', patched / "README.md": b"# Good\n"}
    for path, content in kept.items():
        path.write_bytes(content)
    monkeypatch.setattr(guard.subprocess, "Popen", None)  # nothing is started
    assert main(["verify", str(patched), *ON_CPU]) == 3
    out, err = capsys.readouterr()
    error, hint = err.splitlines()
    assert out == "" and error.startswith("Error: ") and what in error and hint.startswith("Hint: ")
    assert {path: path.read_bytes() for path in kept} == kept


@pytest.mark.parametrize("case", ["truncated", "pointer", "tokenizer broken", "tokenizer gone"])
def test_a_broken_source_is_told_before_anything_is_copied(
    mini: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    change, name, what = BROKEN[case]
    change(mini / name)
    assert main(["patch", str(mini), "--out", str(tmp_path / "out"), *ON_CPU]) == 3
    assert (what if case != "tokenizer gone" else "has no tokenizer") in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_pickles_that_are_pointers_or_truncated_are_told(mini: Path, tmp_path: Path) -> None:
    (mini / WEIGHTS).unlink()
    pickle = mini / "pytorch_model.bin"
    torch.save({"a": torch.ones(5000)}, pickle)
    check_files({pickle.name: pickle}, mini)
    _truncate(pickle)
    with pytest.raises(SourceError, match="is truncated"):
        check_files({pickle.name: pickle}, mini)
    _point(pickle)
    assert main(["patch", str(mini), "--out", str(tmp_path / "out"), *ON_CPU]) == 3


def test_a_pointer_that_transformers_does_not_load_is_no_obstacle(patched: Path) -> None:
    _point(patched / "pytorch_model.bin")
    check_folder(load(patched))


def test_an_index_that_names_a_shard_which_is_missing_is_told(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}))
    with pytest.raises(
        SourceError, match="names model-00001-of-00002.safetensors, which is missing".replace(".", "[.]")
    ):
        check_files({index.name: index}, tmp_path)


@pytest.mark.parametrize("command", ["encode", "search", "export"])
def test_every_command_that_runs_a_model_tells_it(
    command: str,
    patched: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("patcher.retrieval.export.find_spec", lambda _: True)  # no runtime is reached here
    texts = tmp_path / "texts.txt"
    texts.write_text("Oslo\n")
    words = {"encode": [texts, "--to", "qdrant", "--out", tmp_path / "o"], "search": [texts, "?"]}
    words["export"] = ["--out", tmp_path / "o"]
    _truncate(patched / WEIGHTS)
    assert main([command, str(patched), *map(str, words[command]), "--trust-remote-code"]) == 3
    assert "is truncated" in capsys.readouterr().err and not (tmp_path / "o").exists()


@pytest.mark.parametrize("name", ["torch", "transformers", "sentence-transformers"])
def test_a_missing_package_is_named_with_what_installs_it(
    patched: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    found = preconditions.find_spec
    monkeypatch.setattr(
        preconditions, "find_spec", lambda asked: None if asked == name.replace("-", "_") else found(asked)
    )
    for command in (["verify", patched], ["patch", MINI, "--out", patched.parent / "out"]):
        assert main([*map(str, command), "--trust-remote-code", "--device", "cpu", "--sparse-encoder"]) == 3
        error, hint = capsys.readouterr().err.splitlines()
        assert f"{name}, which is not installed" in error and hint.startswith("Hint: pip install ")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_told_before_weights_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingRequirement, match="no cuda device that torch can use here; it finds cpu"):
        check_machine(["cuda"])
    monkeypatch.setattr(preconditions, "_devices", lambda: ["cuda", "cpu"])
    check_machine(["cuda", "cpu"])
    with pytest.raises(MissingRequirement, match="no mps device"):
        check_machine(["cuda", "mps"])


HUB_SOURCE = "ltg/norbert4-base"
WITHOUT = """
import sys
from patcher.cli import main
from patcher.verify import preconditions
missing, find = sys.argv[1], preconditions.find_spec
preconditions.find_spec = lambda name: None if name == missing else find(name)
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("missing", "words", "what"),
    [
        ("torch", ["patch"], "torch, which is not installed"),
        ("sentence_transformers", ["patch", "--sparse-encoder"], "sentence-transformers, which is not installed"),
        ("", ["patch", "--device", "cuda"], "There is no cuda device"),
        ("tokenizer.json", ["patch"], "has no tokenizer"),
        ("sentence_transformers", ["threshold"], "sentence-transformers, which is not installed"),
        ("", ["threshold", "--device", "cuda"], "There is no cuda device"),
        ("tokenizer.json", ["threshold"], "has no tokenizer"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_what_a_source_on_the_hub_lacks_is_told_before_its_weights_are_fetched(
    missing: str,
    words: list[str],
    what: str,
    hub: LocalHub,
    hub_env: dict[str, str],
    capped_once: Path,
    tmp_path: Path,
) -> None:
    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    command, *options = words
    folder = MINI if command == "patch" else capped_once
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    hub.create_repo(HUB_SOURCE, {name: path for name, path in files.items() if path.name != missing})
    out = ["--out" if command == "patch" else "--save", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, missing, command, HUB_SOURCE, *out, *options, "--trust-remote-code"],
        env={**hub_env, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3 and what in done.stderr.splitlines()[-2], done.stderr
    assert [one.path for one in hub.requests if "/resolve/" in one.path and WEIGHTS in one.path] == []
    assert not (tmp_path / "out").exists()


ROW = "        first_row = torch.zeros_like"


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("raise MemoryError('12 GB')", "Out of memory on cpu"),
        ("import package_that_nobody_has", "could not be run: .*package_that_nobody_has"),
    ],
)
def test_what_the_child_lacks_is_no_finding_about_the_model(
    patched: Path, tmp_path: Path, code: str, what: str
) -> None:
    edit(patched, ROW, f"        {code}\n{ROW}")
    answer = measure(prepare(load(patched), tmp_path / "scratch", wanted("Oslo"), "cpu"))
    with pytest.raises(VerificationError, match=what):
        check_available(answer, "cpu")


def test_a_child_that_the_system_ended_is_no_finding_either(patched: Path) -> None:
    edit(patched, ROW, f"        import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n{ROW}")
    with pytest.raises(VerificationError, match="most likely for lack of memory") as caught:
        verify(load(patched), wanted("Oslo", sandbox="none"))
    assert caught.value.exit_code == 3 and not (patched / "report.json").exists()
