"""How every command ends: with the next command to type or a place to look at, and with nothing on stderr if quiet."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from patcher.cli import hints, main
from patcher.cli.app import ORDER
from patcher.pipeline.family import NOT_DONE, PATCHED, SKIPPED, Entry, Outcome, Outcomes
from patcher.retrieval.export import Export
from patcher.source.snapshot import Source
from patcher.verify import texts as texts_module
from patcher.verify.report import Check
from tests.cli.test_tables import REPORT, SPARSE
from tests.conftest import MINI, ON_CPU
from tests.threshold.made_up import PASSED

PROBES = Path(texts_module.__file__).with_name("probe.jsonl")
RUNS = ("--trust-remote-code", "--device", "cpu")
EXPORTED = Export(
    source=Source(None, None, "model"),
    fingerprint="f",
    format="onnx",
    inputs=("input_ids",),
    output="vectors",
    max_tokens=512,
    texts=3,
    error=0.0,
    tolerance=1e-4,
    changed=0,
    versions={},
)
Say = Callable[..., tuple[int, str]]


@pytest.fixture
def say(
    patched: Path,
    capped_once: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Say:
    """Runs a command on the miniature; its exit code and what it says on stderr."""
    few = tmp_path / "few.jsonl"
    few.write_text("".join(PROBES.read_text("utf-8").splitlines(keepends=True)[:3]), "utf-8")
    monkeypatch.setattr(texts_module, "_PROBE_TEXTS", few)
    monkeypatch.setattr("patcher.retrieval.export.check_export", lambda *_: None)  # its packages are large
    monkeypatch.setattr("patcher.retrieval.export.export_model", lambda *_: EXPORTED)
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"id": f"d{n}", "text": f"Hytte {n} ved havet."}) + "\n" for n in range(3)))
    for name in ("corpus", "queries"):
        lines = [json.dumps({"_id": f"{n}", "text": f"Hytte {n} ved havet."}) + "\n" for n in range(3)]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    (tmp_path / "qrels").mkdir()
    rows = "".join(f"{n}\t{n}\t1\n" for n in range(3))
    (tmp_path / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")
    out = tmp_path / f"out-{tmp_path.name}"
    words: dict[str, list[str | Path]] = {
        "plan": [MINI],
        "patch": [MINI, "--out", out, "--no-verify"],
        "repair": [MINI, "--out", out, "--no-verify"],
        "verify": [patched, *ON_CPU],
        "card": [patched],
        "templates": [out],
        "threshold": [capped_once, "--queries", texts, "--documents", texts, *RUNS],
        "encode": [patched, texts, "--to", "parquet", "--out", out, "--queries", *RUNS],
        "search": [patched, texts, "Hvor er hytta?", *RUNS],
        "evaluate": [patched, "--beir", tmp_path, "--out", out, *RUNS],
        "export": [patched, "--out", out, "--trust-remote-code"],
    }

    def run(command: str, *more: str) -> tuple[int, str]:
        code = main([command, *map(str, words[command]), *more])
        return code, capsys.readouterr().err

    return run


HERE = tuple(command for command in ORDER if command not in {"publish", "check"})
FAILS = {"threshold"}  # of a model that was never trained


@pytest.mark.parametrize("command", HERE)
def test_every_command_ends_with_the_next_one_or_a_place_to_look_at(command: str, say: Say) -> None:
    if command == "evaluate":
        pytest.importorskip("mteb")
    code, err = say(command)
    assert code == int(command in FAILS), err
    last = err.splitlines()[-1]
    assert last.startswith(("next: patcher ", "report: ") if command != "templates" else "next: python "), err


@pytest.mark.parametrize("command", HERE)
def test_a_quiet_command_says_nothing_on_stderr(command: str, say: Say) -> None:
    if command == "evaluate":
        pytest.importorskip("mteb")
    assert say(command, "--quiet") == (int(command in FAILS), "")


def last(lines: Any) -> list[str]:
    """The words of the last next command."""
    return shlex.split([line for line in lines if line.startswith("next: ")][-1].partition("  (")[0])[2:]


FAILED = replace(PASSED, checks=(Check("retrieval_preserved", False, 0.2, 0.01, ""),), best=None)
JUDGED = replace(PASSED.evaluation, relevant={"q": ("d",)})
WORDS = ["threshold", "m", "--sweep", "--threshold", "0.3", "--tolerance=0.01"]


def test_a_saved_model_is_published_and_may_be_exported(tmp_path: Path) -> None:
    lines = list(hints.after_threshold(PASSED, WORDS, tmp_path / "s"))
    assert lines == [
        f"next: patcher publish {tmp_path / 's'} YOUR_NAME/s --dry-run",
        f"or: patcher export {tmp_path / 's'} --trust-remote-code",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"swept": False}, [*WORDS, "--sweep"]),
        ({"evaluation": JUDGED}, ["threshold", "m", "--sweep", "--tolerance", "0.02"]),
        ({"best": PASSED.point}, ["threshold", "m", "--sweep", "--tolerance=0.01"]),
        ({}, [*WORDS, "--qrels", "FILE"]),
        ({"fit": "without_cap"}, ["patch", "model", "--out", "DIR", "--trained-without-cap"]),
        ({"checks": (Check("loads_right", False, 1, 0, ""),)}, ["plan", "model"]),
        ({"capped": False}, ["templates", "DIR"]),
        ({"capped": False, "checks": PASSED.checks}, ["encode", "model", "TEXTS.jsonl", "--to", "parquet"]),
        ({"checks": PASSED.checks}, [*WORDS, "--save", "DIR"]),
    ],
)
def test_every_verdict_on_a_threshold_has_a_next_command(changes: dict[str, Any], expected: list[str]) -> None:
    assert last(hints.after_threshold(replace(FAILED, **changes), WORDS, None)) == expected


def test_a_failed_threshold_that_was_saved_by_force_is_not_sent_to_a_publication_that_refuses_it() -> None:
    assert last(hints.after_threshold(FAILED, WORDS, Path("s")))[0] == "threshold"


def test_a_graph_is_published_with_its_model_where_it_is_inside(tmp_path: Path) -> None:
    assert last(hints.after_export(tmp_path / "onnx", ["m"], passed=True))[1] == str(tmp_path / "onnx")
    (tmp_path / "patch.json").touch()
    assert last(hints.after_export(tmp_path / "onnx", ["m"], passed=True))[1] == str(tmp_path)
    failed = hints.after_export(tmp_path / "onnx", ["m", "--revision", "v1"], passed=False)
    assert last(failed) == ["encode", "m", "TEXTS.jsonl", "--to", "parquet", "--revision", "v1"]


def test_a_list_goes_on_with_its_first_model_or_is_run_again(tmp_path: Path) -> None:
    passed = replace(REPORT, checks=(SPARSE,))
    entries = [Entry("a", tmp_path / "a"), Entry("b", tmp_path / "b")]

    def after(*statuses: str) -> list[str]:
        found = tuple(
            Outcome(entry, entry.spec, status, 0, report=passed)
            for entry, status in zip(entries, statuses, strict=True)
        )
        return last(hints.after_list(Outcomes(found), ["patch", "--all", "list.txt"]))

    assert after(PATCHED, NOT_DONE) == ["patch", "--all", "list.txt"]
    assert after("nothing to do", SKIPPED)[:2] == ["publish", str(tmp_path / "b")]
    assert after("nothing to do", "nothing to do") == ["plan", "a"]


def test_patch_a_list_and_repair_end_with_1_where_a_check_fails(
    mini: Path, say: Say, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit that nothing reaches, and a tensor that the checkpoint of a repaired model lacks."""
    (tmp_path / "list.txt").write_text(f"{mini}\n")
    limit = [*ON_CPU, "--min-logit-sparsity", "1"]
    for words in (
        ["patch", str(mini), "--out", str(tmp_path / "one"), *limit],
        ["patch", "--all", str(tmp_path / "list.txt"), "--out", str(tmp_path / "many"), *limit],
    ):
        assert main(words) == 1
        shown, err = capsys.readouterr()
        assert "relu_sparsity" in shown, err
    tensors = load_file(mini / "model.safetensors")
    tensors.pop(next(name for name in tensors if name.endswith("up_proj.scale")))
    save_file(tensors, mini / "model.safetensors", metadata={"format": "pt"})
    assert main(["repair", str(mini), "--out", str(tmp_path / "repaired"), *ON_CPU]) == 1
    shown, err = capsys.readouterr()
    assert "FAILED" in shown and "weights_unchanged" in shown, err
