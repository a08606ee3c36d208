"""A list of repositories: each is patched by itself, what is done is not done again, and one failure stops no other."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patcher.cli import main
from patcher.errors import PatcherError, UsageError
from patcher.hashing import sha256_of
from patcher.patching.record import load
from patcher.patching.sharing import AUTO
from patcher.pipeline import family
from patcher.pipeline.family import NOT_DONE, PATCHED, SKIPPED, inspect_entries, patch_all, read_list
from patcher.planning.options import Options
from patcher.planning.plan import make_plan
from patcher.source.snapshot import resolve
from patcher.verify.settings import Verification
from patcher.verify.texts import load_probe_texts
from tests.conftest import MINI, ROOT, user_environment
from tests.finetuned import write_classifier
from tests.pipeline.conftest import pickle_weights
from tests.verify.running import REPAIRS, repaired, report_on, wanted

CODE = "modeling_gptbert.py"


def written(place: Path, *lines: str) -> Path:
    path = place / "list.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


# The list


def test_a_line_is_a_source_and_if_wanted_the_name_of_its_folder(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "# a comment",
        "",
        "ltg/norbert4-base",
        "ltg/norbert4-large@main",
        "hf://ltg/norbert4-small  small   # with a name",
        f"{MINI} mini",
        "'a folder/with spaces' spaced",
    )
    assert [(entry.spec, entry.out) for entry in read_list(path, tmp_path)] == [
        ("ltg/norbert4-base", tmp_path / "norbert4-base-splade"),
        ("ltg/norbert4-large@main", tmp_path / "norbert4-large-splade"),
        ("hf://ltg/norbert4-small", tmp_path / "small"),
        (str(MINI), tmp_path / "mini"),
        ("a folder/with spaces", tmp_path / "spaced"),
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["ltg/a", "other/a"], "Line 2 .* would write a-splade a second time"),
        (["ltg/a ../../etc"], "Line 1 "),
        (["ltg/a .."], "Line 1 "),
        (["", "ltg/a b c"], "Line 2 "),
        (["'ltg/a"], "Line 1 .* No closing quotation"),
        (["# nothing"], "names no model"),
    ],
)
def test_a_line_that_cannot_be_meant_is_told_with_its_number(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_list(written(tmp_path, *lines), tmp_path / "out")


def test_the_list_of_the_family_comes_with_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [entry.spec for entry in read_list(Path("family"), tmp_path)]
    assert [f"ltg/norbert4-{size}" for size in ("xsmall", "small", "base", "large", "xlarge")] == names[:5]
    assert "HPLT/hplt_gpt_bert_base_3_0_nob_Latn" in names


@pytest.mark.parametrize(
    "arguments",
    [
        ["patch", "--out", "x"],
        ["patch", str(MINI), "--all", "family", "--out", "x"],
        ["patch", "--all", "family", "--out", "x", "--revision", "main"],
        ["patch", "--all", "family", "--out", "x", "--code-only", "--no-verify"],
        ["patch", "--all", "/nowhere/list.txt", "--out", "x"],
        ["patch", str(MINI), "--jobs", "2"],
        ["patch", "--all", "family", "--jobs", "2", "--device", "cpu,cuda"],
        ["patch", "--all", "family", "--jobs", "0"],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    assert main(arguments) == 2


# The whole of it, as a user runs it


def run(path: Path, out: Path, home: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = ["patch", "--all", str(path), "--out", str(out), "--device", "cpu", "--no-sparse-encoder", *flags]
    return subprocess.run(
        [sys.executable, "-m", "patcher", *command],
        cwd=ROOT,
        env=user_environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Four repositories: sound, broken, pickled, gone; patched and verified once, two at a time."""
    place = tmp_path_factory.mktemp("all")
    sources = {name: shutil.copytree(MINI, place / name) for name in ("sound", "broken", "pickled")}
    (sources["broken"] / CODE).write_text("def forward(:\n")
    pickle_weights(sources["pickled"])
    path = written(place, str(sources["sound"]), str(sources["broken"]), f"{sources['pickled']} shelved", "/nowhere")
    ended = run(path, place / "out", place / "home", "--trust-remote-code", "--json", "--jobs", "2")
    return {
        "place": place,
        "list": path,
        "out": place / "out",
        "ended": ended,
        "result": json.loads(ended.stdout),
        "seen": inspect_entries(read_list(path, place / "elsewhere"), Options()),
    }


def test_one_failing_repository_does_not_stop_the_rest(done: dict[str, Any]) -> None:
    assert done["ended"].returncode == 3
    assert [one["status"] for one in done["result"]["results"]] == [PATCHED, NOT_DONE, PATCHED, NOT_DONE]
    assert done["result"]["passed"] is False
    broken, gone = done["result"]["results"][1], done["result"]["results"][3]
    assert "not valid Python: line 1" in broken["reason"] and "/nowhere" in gone["reason"] and gone["hint"]
    assert sorted(path.name for path in done["out"].iterdir()) == ["shelved", "sound-splade"]


def test_each_result_has_its_report_and_its_figures(done: dict[str, Any]) -> None:
    sound, _, pickled, _ = done["result"]["results"]
    assert sound["checks"] == "8/8" and pickled["checks"] == "9/9"
    assert sound["logit_sparsity"] == pickled["logit_sparsity"] > 0.98 and sound["seconds"] > 0
    assert "weights_converted" in [check["name"] for check in pickled["report"]["checks"]]
    assert json.loads((done["out"] / "sound-splade" / "report.json").read_text()) == sound["report"]


def test_a_second_run_skips_what_is_complete_and_does_the_rest_again(done: dict[str, Any], tmp_path: Path) -> None:
    out = shutil.copytree(done["out"], tmp_path / "out")
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    again = run(done["list"], out, tmp_path / "home", "--trust-remote-code", "--quiet")
    assert again.returncode == 3 and again.stderr == ""
    lines = [line.split("\t") for line in again.stdout.splitlines()]
    assert [line[0] for line in lines] == [SKIPPED, NOT_DONE, SKIPPED, NOT_DONE]
    assert lines[0][2] == "complete already"
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == kept


def statuses(done: dict[str, Any], out: Path, options: Options | None = None, **wishes: Any) -> list[str]:
    """How each line would end now, with a patch that refuses to run: what is not skipped fails."""

    def refuse(*_: object) -> Any:
        raise PatcherError("would run", "")

    verification = Verification(load_probe_texts(), ("cpu",), **wishes)
    members = [replace(member, out=out / member.out.name) for member in done["seen"]]
    if options is not None:
        members = list(inspect_entries(members, options))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(family, "patch_model", refuse)
        return [one.status for one in patch_all(members, verification).all]


def test_what_would_give_another_result_is_done_again(done: dict[str, Any], tmp_path: Path) -> None:
    out = shutil.copytree(done["out"], tmp_path / "out")
    assert statuses(done, out)[::2] == [SKIPPED, SKIPPED]
    assert statuses(done, out, min_logit_sparsity=0.9)[0] == SKIPPED, "a harder limit was passed"
    assert statuses(done, out, min_logit_sparsity=0.999)[0] == NOT_DONE, "no harder limit was tried"
    assert statuses(done, out, sparse_encoder=True)[0] == NOT_DONE
    assert statuses(done, out, Options(checkpointing=True))[0] == NOT_DONE

    weights = out / "sound-splade" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    (out / "shelved" / "report.json").unlink()
    assert statuses(done, out)[::2] == [NOT_DONE, NOT_DONE], "damaged, and never verified"


def test_a_source_folder_that_changed_is_patched_again(done: dict[str, Any], tmp_path: Path) -> None:
    out = shutil.copytree(done["out"], tmp_path / "out")
    config = done["place"] / "sound" / "tokenizer_config.json"
    before = config.read_bytes()
    try:
        config.write_bytes(before + b"\n")
        assert statuses(done, out)[0] == NOT_DONE
    finally:
        config.write_bytes(before)
    assert statuses(done, out)[0] == SKIPPED


def test_an_interrupted_run_is_resumed(tmp_path: Path) -> None:
    """Stopped in the second of two, and run again: the first is skipped and the second is made."""
    first, second = (shutil.copytree(MINI, tmp_path / name) for name in ("first", "second"))
    path, out = written(tmp_path, str(first), str(second)), tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "patcher", "patch", "--all", str(path), "--out", str(out), "--no-verify"],
        cwd=ROOT,
        env=user_environment(tmp_path / "home"),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("[2/2] Patching"):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.1)
    whole = (out / "second-splade").exists()
    again = run(path, out, tmp_path / "home", "--no-verify", "--quiet")
    assert again.returncode == 0, again.stderr
    found = [line.split("\t")[0] for line in again.stdout.splitlines()]
    assert found == [SKIPPED, SKIPPED if whole else PATCHED]
    for name in ("first-splade", "second-splade"):
        assert all(sha256_of(out / name / file.path) == file.after for file in load(out / name).files)
    assert sorted(path.name for path in out.iterdir()) == ["first-splade", "second-splade"], "nothing half is left"


# Trust


def test_nothing_runs_without_a_yes_and_the_question_lists_the_code_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [shutil.copytree(MINI, tmp_path / name) for name in ("first", "second")]
    path = written(tmp_path, *map(str, sources))
    asked = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda *_: asked.append(1) or "n")
    assert main(["patch", "--all", str(path), "--out", str(tmp_path / "out")]) == 3
    assert asked == [1], "once for the whole list"
    stderr = capsys.readouterr().err
    for source in sources:
        for name in ("configuration_gptbert.py", CODE):
            assert f"  {source / name}\n    sha256 " in stderr
    assert "2 models" in stderr and stderr.count("--- a/") == 3, "each file once: what is patched alike is shown once"
    assert stderr.endswith("Cancelled; nothing was run.\n")
    assert not (tmp_path / "out").exists()


def test_a_classifier_that_sentence_transformers_cannot_load_is_not_verified_again(tmp_path: Path) -> None:
    source = write_classifier(tmp_path / "classifier", "SequenceClassification", 8)
    snapshot, out = resolve(str(source)), repaired(source, tmp_path / f"out-{tmp_path.name}")
    asked = wanted(sparse_encoder=True)
    report = report_on(out, tmp_path / "scratch", sparse_encoder=True)
    report.write(out)
    assert report.passed
    plan = make_plan(snapshot, REPAIRS)
    assert family._done(out, plan, snapshot, family._Job(asked, AUTO, None)) == report
    assert not family._done(out, plan, snapshot, family._Job(wanted(*"abcd"), AUTO, None))
