"""A trained, capped SPLADE model keeps its cap: patching it is refused, repairing it makes it load again."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patcher.cli import main, tables
from patcher.cli.console import Console
from patcher.documents import card
from patcher.errors import SourceError
from patcher.hashing import sha256_of
from patcher.patching.record import load
from patcher.pipeline.api import patch_model
from patcher.planning.options import Options
from patcher.planning.plan import Plan, make_plan
from patcher.source.snapshot import resolve
from patcher.verify.measure.logits import measure
from patcher.verify.messages import SingleMeasured
from patcher.verify.report import Report
from patcher.verify.requests import prepare, readable
from patcher.verify.settings import CHILD
from patcher.verify.verification import evaluate, hash_folder
from tests.conftest import MINI, ON_CPU, Run
from tests.sandbox.stand_in import run_child
from tests.threshold.briefly_trained import train
from tests.verify.running import repaired, wanted

CODE, CONFIGURATION = "modeling_gptbert.py", "configuration_gptbert.py"
CAP = b"30 * torch.sigmoid(subword_prediction / 7.5)"


def plan_of(folder: Path, *codemods: str, **options: Any) -> Plan:
    return make_plan(resolve(str(folder)), Options.choose(codemods, **options))


def report_on(folder: Path, scratch: Path, sparse_encoder: bool = False) -> Report:
    """Verify inside the test's process."""
    model, asked, files = load(folder), wanted(sparse_encoder=sparse_encoder), hash_folder(folder)
    (scratch / folder.name).mkdir(parents=True)
    answer = measure(prepare(model, scratch / folder.name, asked, "cpu"))
    return evaluate(model, [answer], files, asked)


def test_taking_the_cap_off_is_refused_as_long_as_nobody_knows_how_it_was_trained(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["plan", str(trained)], ["patch", str(trained), "--out", str(tmp_path / "out"), "--no-verify"]):
        assert main(command) == 3
        error, hint = capsys.readouterr().err.splitlines()[-2:]
        assert "with that cap or without it" in error and CAP.decode() in error
        assert "were trained through" not in error, "nothing was measured"
        assert f"patcher threshold {trained}" in hint and f"patcher repair {trained} --out DIR" in hint
        assert "--trained-without-cap" in hint
    assert not (tmp_path / "out").exists()
    with pytest.raises(SourceError):
        plan_of(trained, "soft_cap", "config_defaults")


def test_a_user_who_knows_takes_the_cap_off_a_trained_model_and_the_record_and_card_say_so(
    trained: Path, tmp_path: Path
) -> None:
    plan = plan_of(trained, trained_without_cap=True)
    assert CAP in plan.base[CODE] and f"logits = {CAP.decode()}" not in plan.contents[CODE].decode()
    out = patch_model(plan, resolve(str(trained)), tmp_path / f"out-{tmp_path.name}", None).folder
    model = load(out)
    assert model.options.trained_without_cap and model.loaded_by == "SparseEncoder" and model.soft_cap is not None
    assert plan_of(out).already_patched
    text = card.render(model, None, "me/model")
    assert "How to train with it" not in text and "not trained for retrieval yet" not in text
    request = prepare(model, tmp_path / "scratch", wanted(sparse_encoder=True), "cpu")
    assert request.base is not None and CAP in (Path(request.base.folder) / CODE).read_bytes()
    assert request.sparse_encoder and [Path(one.folder) for one in request.encoders] == [out]


def test_a_threshold_in_the_code_keeps_the_cap_and_needs_no_module(trained: Path, tmp_path: Path) -> None:
    plan = plan_of(trained, threshold=2.0)
    out = patch_model(plan, resolve(str(trained)), tmp_path / f"out-{tmp_path.name}", None).folder
    assert out is not None and CAP in (out / CODE).read_bytes() and not (out / "sparse_threshold.py").exists()
    model = load(out)
    assert model.options.threshold == 2.0 and model.soft_cap is not None and model.soft_cap.kept
    assert plan_of(out).already_patched and "is followed by a threshold of 2" in tables.nothing_line(plan_of(out))
    report = report_on(out, tmp_path / "scratch", sparse_encoder=True)
    assert [check.name for check in report.checks if not check.passed] == ["relu_sparsity"], "it was never trained"
    assert report.patched["min"] == pytest.approx(report.base["min"] - math.expm1(2.0), abs=1e-5)
    text = card.render(model, report, "me/model")
    assert "patcher threshold" in text, "the advice is a higher threshold"
    assert "--calibrate" not in text and "no longer caps" not in text and "expm1(2)" in text
    wrong = (out / CODE).read_text("utf-8").replace("SPLADE_LOGIT_SHIFT = 6.389", "SPLADE_LOGIT_SHIFT = 6.388")
    broken = shutil.copytree(out, tmp_path / f"broken-{tmp_path.name}")
    (broken / CODE).write_text(wrong, "utf-8")
    failed = {check.name for check in report_on(broken, tmp_path / "again").checks if not check.passed}
    assert {"cap_lowered_exactly", "modes_agree"} <= failed


def test_a_threshold_in_the_code_gives_true_zeros_to_an_encode_and_to_further_training(
    trained_capped_once: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, texts = plan_of(trained_capped_once, threshold=0.05), tmp_path / "texts.jsonl"
    out = patch_model(plan, resolve(str(trained_capped_once)), tmp_path / f"out-{tmp_path.name}", None).folder
    assert out is not None
    further = train(out, tmp_path / f"further-{tmp_path.name}", rescaled=False, steps=3, batch_size=4, pairs_read=40)
    assert "SPLADE_LOGIT_SHIFT" in (further / CODE).read_text("utf-8") and plan_of(further).already_patched
    texts.write_text('{"id": 1, "text": "Oslo er hovedstaden i Norge."}\n{"id": 2, "text": "Fjorden ligg stille."}\n')
    capsys.readouterr()  # what the trainer printed
    for folder in (out, further):
        words = ["encode", folder, texts, "--to", "qdrant", "--out", tmp_path / f"{folder.name}.jsonl", "--json"]
        assert main([*map(str, words), *ON_CPU[:1], "--device", "cpu"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["texts"] == 2 and 1 < found["costs"]["active_dims"] < 8192 / 20, "zeros without a module"
        written = (tmp_path / f"{folder.name}.jsonl").read_text()
        assert min(min(json.loads(line)["vector"]["splade"]["values"]) for line in written.splitlines()) > 0


def test_two_models_of_one_name_in_one_process_run_their_own_code(
    loading: Path, patched_once: Path, tmp_path: Path
) -> None:
    from sentence_transformers import SparseEncoder

    zeros = []
    for kind, folder in (("capped", loading), ("patched", patched_once)):
        final = shutil.copytree(folder, tmp_path / kind / "final")
        model = SparseEncoder(str(final), trust_remote_code=True, device="cpu")
        zeros.append(int((model.encode_document(["Oslo."], convert_to_sparse_tensor=False) == 0).sum()))
    assert zeros[0] == 0 and zeros[1] > 7000


def test_a_trained_model_with_routes_is_not_patched_unverified(trained: Path) -> None:
    sub = trained / "0_MLMTransformer"
    sub.mkdir()
    for name in ("config.json", CODE, "configuration_gptbert.py", "model.safetensors"):
        (trained / name).rename(sub / name)
    modules = json.loads((trained / "modules.json").read_text())
    modules[0]["path"] = sub.name
    (trained / "modules.json").write_text(json.dumps(modules))
    for options in ({"trained_without_cap": True}, {"threshold": 0.05}):
        with pytest.raises(SourceError, match="in separate folders") as caught:
            plan_of(trained, **options)
        assert "--save DIR" in str(caught.value.hint)


def test_a_trained_model_whose_base_had_no_cap_needs_nothing(trained: Path, patched_once: Path) -> None:
    shutil.copy(patched_once / CODE, trained / CODE)
    assert plan_of(trained).already_patched
    assert plan_of(trained, "repairs").kept_cap is None


def test_the_repairs_change_the_code_and_nothing_else(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.relative_to(trained).as_posix(): sha256_of(path) for path in trained.rglob("*") if path.is_file()}
    out = repaired(trained, tmp_path / f"out-{tmp_path.name}")
    after = {path.relative_to(out).as_posix(): sha256_of(path) for path in out.rglob("*") if path.is_file()}
    changed = {path for path in before if before[path] != after.get(path)}
    assert changed - {"README.md"} == {CODE, CONFIGURATION, "config.json"}, "the pooling and the weights are there"
    assert set(after) - set(before) == {"patch.json"} and "1_SpladePooling/config.json" in after
    code = (out / CODE).read_bytes()
    assert CAP in code and b"_tied_weights_keys = None" in code
    model = load(out)
    assert model.soft_cap is None and model.encoders == ("",)
    assert model.kept_cap is not None and model.kept_cap.scale == 30
    card = (out / "README.md").read_text("utf-8")
    assert (
        "**its cap is kept**" in card and "patcher threshold" in card and "library_name: sentence-transformers" in card
    )
    assert "logits no longer" not in card and "σ" not in card
    monkeypatch.chdir(tmp_path)
    exec(card.split("```python\n")[1].split("```")[0], {})
    assert len(capsys.readouterr().out.splitlines()) == 8, "the example runs as it stands"


def test_the_repaired_model_passes_and_the_published_one_does_not(trained: Path, tmp_path: Path) -> None:
    out = repaired(trained, tmp_path / f"out-{tmp_path.name}")
    report = report_on(out, tmp_path / "scratch", sparse_encoder=True)
    names = ["weights_unchanged", "buffers_rebuilt", "logits_finite", "modes_agree", "sparse_encoder_loads"]
    assert [check.name for check in report.checks] == [*names, "files_unchanged"]
    assert report.passed, report.checks
    assert report.base == {} and report.patched["min"] > 0 and report.patched["logit_sparsity"] == 0.0

    broken = shutil.copytree(out, tmp_path / f"broken-{tmp_path.name}")
    for name in (CODE, "config.json"):
        shutil.copy(trained / name, broken / name)
    found = report_on(broken, tmp_path / "scratch", sparse_encoder=True)
    assert not any(check.passed for check in found.checks) and "is_decoder" in found.checks[0].detail


def test_wrong_tables_and_logits_that_are_not_finite_are_caught(trained: Path, tmp_path: Path) -> None:
    """The published code with nothing but the first obstacle out of its way: it loads, and computes with garbage."""
    out = repaired(trained, tmp_path / f"out-{tmp_path.name}", Options.choose(["config_defaults", "tied_weights"]))
    checks = {check.name: check for check in report_on(out, tmp_path / "scratch", sparse_encoder=True).checks}
    assert not checks["buffers_rebuilt"].passed and checks["buffers_rebuilt"].value == 8
    assert not checks["logits_finite"].passed
    assert not checks["sparse_encoder_loads"].passed and checks["sparse_encoder_loads"].value > 0
    assert checks["weights_unchanged"].passed


def test_the_child_of_a_second_device_may_read_what_the_first_one_left(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two guarded children on the CPU; what they found stands in a column each."""
    out = repaired(trained, tmp_path / f"out-{tmp_path.name}")
    model, asked = load(out), replace(wanted(), devices=("cpu", "cuda"))
    answers, reference = [], None
    for name in ("first", "second"):
        scratch = tmp_path / name
        request = prepare(model, scratch, asked, "cpu", reference)
        given = [*readable(model), *([reference] if reference else [])]
        answers.append(run_child(CHILD, request, SingleMeasured, scratch, "cpu", 300, given))
        reference = reference or scratch / "digest"
    report = evaluate(model, answers, hash_folder(out), asked)
    assert report.passed, report.checks
    assert report.disagreement is not None and report.disagreement.texts == 3
    Console().table(tables.figures(report))
    heads = capsys.readouterr().out.splitlines()[0].split()
    assert heads == ["figure", "this", "model,", "cpu", "this", "model,", "cpu"]
    assert card.render(model, report, "x").count("logits_finite") == 2


def test_code_in_a_sub_folder_is_repaired_there_and_copied_to_where_it_is_looked_for(
    trained: Path, tmp_path: Path
) -> None:
    """As a model with a Router is saved: the masked LM, its code and its weights lie below the model's own folder."""
    sub = trained / "document_0_MLMTransformer"
    sub.mkdir()
    for path in list(trained.iterdir()):
        if path.is_file() and path.name not in {"modules.json", "config_sentence_transformers.json", "README.md"}:
            path.rename(sub / path.name)
    modules = json.loads((trained / "modules.json").read_text())
    modules[0]["path"] = sub.name
    (trained / "modules.json").write_text(json.dumps(modules))
    plan = plan_of(trained, "repairs")
    changed = tuple(f"{sub.name}/{name}" for name in ("config.json", CONFIGURATION, CODE))
    assert plan.encoders == (sub.name,) and plan.files.changed == changed
    assert set(plan.files.added) == {CODE, CONFIGURATION}
    out = repaired(trained, tmp_path / f"out-{tmp_path.name}")
    assert (out / CODE).read_bytes() == (out / sub.name / CODE).read_bytes() != (MINI / CODE).read_bytes()
    report = report_on(out, tmp_path / "scratch", sparse_encoder=True)
    assert report.passed, report.checks
    assert plan_of(out, "repairs").already_patched


def test_the_command_says_what_it_did(trained: Path, tmp_path: Path, cli: Run) -> None:
    """One real run through the guarded child, as a user sees it."""
    out = tmp_path / f"out-{tmp_path.name}"
    flags = ("--codemod", "computed_buffers", "--codemod", "tied_weights", "--codemod", "config_defaults")
    done = cli("patch", trained, "--out", out, *flags, *ON_CPU)
    assert done.returncode == 0, done.stderr
    assert f"Verified: {out} passed all 5 checks." in done.stdout and "base model" not in done.stdout
    assert "Running the repaired model" in done.stderr
    again = cli("patch", out, "--out", tmp_path / "again", *flags)
    assert again.returncode == 0 and "needs none of tied_weights, config_defaults, computed_buffers" in again.stdout


# Chosen codemods, on any model


def test_chosen_codemods_run_alone(mini: Path) -> None:
    applied = {result.name for result in plan_of(mini, "tied_weights").codemods if result.status == "applied"}
    assert applied == {"tied_weights"}
    assert {result.name for result in plan_of(mini, "soft_cap").codemods} == {"soft_cap"}
    assert {result.name for result in plan_of(mini, "repairs").codemods} == {
        "removed_methods",
        "computed_buffers",
        "tied_weights",
        "config_defaults",
        "max_length",
    }


def test_checkpointing_is_asked_for_in_two_ways_and_never_comes_by_itself(mini: Path) -> None:
    assert "checkpointing" not in {result.name for result in plan_of(mini).codemods}
    by_flag, by_name = plan_of(mini, checkpointing=True), plan_of(mini, "checkpointing")
    assert b"use_reentrant=False" in by_flag.contents[CODE] and by_flag.soft_cap is not None
    assert b"use_reentrant=False" in by_name.contents[CODE] and CAP in by_name.contents[CODE]
    both = plan_of(mini, "config_defaults", checkpointing=True)
    assert {result.name for result in both.codemods} == {"config_defaults", "checkpointing"}


def test_the_row_of_the_bos_token_is_dropped_where_that_is_asked_for(mini: Path, patched_once: Path) -> None:
    assert "drop_bos" not in {result.name for result in plan_of(mini).codemods}
    by_flag, by_name = plan_of(mini, drop_bos=True), plan_of(mini, "drop_bos")
    assert b"bos_token_id] = 0.0" in by_flag.contents[CODE] and by_flag.soft_cap is not None
    assert b"bos_token_id] = 1.0" in by_flag.base[CODE] and CAP in by_flag.base[CODE]
    assert b"bos_token_id] = 0.0" in by_name.contents[CODE] and CAP in by_name.contents[CODE]
    said = [line for line in tables.plan(by_flag) if isinstance(line, str)]
    assert any("active in every vector" in line for line in said)
    assert not any("active in every vector" in line for line in map(str, tables.plan(plan_of(mini))))
    assert any("this saves nothing until" in line for line in map(str, tables.plan(by_name)))
    again = plan_of(patched_once, drop_bos=True)
    assert again.nothing_to_do is None and again.soft_cap is None and again.base.keys() <= {CODE}


def test_a_codemod_that_does_not_exist_is_wrong_usage_and_the_names_are_listed(
    mini: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(mini), "--codemod", "soft-cap"]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert "'soft-cap'" in error
    assert all(name in hint for name in ("soft_cap", "computed_buffers", "checkpointing", "repairs"))
