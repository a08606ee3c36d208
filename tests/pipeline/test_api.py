"""The steps from a source to a folder, in their order; logits that are lowered by the least that reaches the gate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from patcher.codec import document
from patcher.errors import PatcherError, SourceError
from patcher.patching import writer
from patcher.patching.record import load
from patcher.pipeline import api
from patcher.pipeline.api import _calibrated_shift
from patcher.planning.options import Options
from patcher.planning.plan import Plan, make_plan
from patcher.source.snapshot import Snapshot, resolve
from patcher.verify.measure.histogram import FINE
from patcher.verify.settings import Verification
from tests.conftest import MINI, ON_CPU, Run
from tests.finetuned import write_classifier
from tests.planning.folders import configure
from tests.verify.made_up import GOOD, judged
from tests.verify.made_up import patched as figures

TARGET = 0.9999


def test_a_calibrated_patch_passes_its_gate_and_says_what_it_subtracts(tmp_path: Path, cli: Run) -> None:
    out = tmp_path / "shifted"
    arguments = ("--out", out, *ON_CPU, "--calibrate", str(TARGET), "--json")
    done = cli("patch", MINI, *arguments)
    assert done.returncode == 0, done.stderr
    model, report = load(out), json.loads(done.stdout)["report"]
    assert model.soft_cap is not None
    shift = model.soft_cap.shift
    assert shift > 0 and shift * FINE == int(shift * FINE)
    assert report["after"]["logit_sparsity"] > TARGET
    names = {check["name"]: check["passed"] for check in report["checks"]}
    assert names["rankings_kept"] and names["cap_removed_exactly"] and names["predictions_unchanged"]
    # One constant, where a reader of the code and a reader of the configuration look for it.
    code = (out / "modeling_gptbert.py").read_text("utf-8")
    assert f"SPLADE_LOGIT_SHIFT = {shift!r}  #" in code
    assert code.count("subword_prediction = subword_prediction - SPLADE_LOGIT_SHIFT\n") == 1
    assert json.loads((out / "config.json").read_text())["splade_logit_shift"] == shift
    assert model.options.shift == shift and str(shift) in (out / "README.md").read_text("utf-8")
    # Of the configuration the repair changed one key more, and the record can make the base again.
    assert model.originals["config.json"] == (MINI / "config.json").read_bytes()
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (MINI, out))
    assert after == {**before, "is_decoder": False, "splade_logit_shift": shift}


def test_a_model_that_passes_is_not_shifted(patched: Path) -> None:
    model = load(patched)
    assert model.soft_cap is not None and model.soft_cap.shift == 0
    assert "SPLADE_LOGIT_SHIFT" not in (patched / "modeling_gptbert.py").read_text("utf-8")


@pytest.mark.parametrize("other", ["--no-verify", "--all=list.txt"])
def test_a_calibration_needs_one_model_and_its_run(tmp_path: Path, cli: Run, other: str) -> None:
    done = cli("patch", MINI, "--out", tmp_path / "out", "--calibrate", "0.98", other)
    assert done.returncode == 2 and "--calibrate has to run a single model" in done.stderr


SPARSE_ENOUGH = replace(figures(0.5, 0.5), shift_to_gate=1.5)


def test_a_shift_is_calibrated_where_nothing_but_the_sparsity_fails() -> None:
    assert _calibrated_shift(judged(replace(GOOD, patched=SPARSE_ENOUGH))) == 1.5
    assert _calibrated_shift(judged(GOOD)) is None, "nothing failed"
    assert _calibrated_shift(judged(replace(GOOD, patched=SPARSE_ENOUGH, cap_error=1.0))) is None


def test_a_source_that_was_patched_before_has_no_folder_and_says_so(patched_once: Path) -> None:
    plan = make_plan(resolve(str(patched_once)))
    made = api.Patched(None, plan, None)
    assert made.already_patched
    assert document(made)["already_patched"] is True


def stand_in_events(monkeypatch: pytest.MonkeyPatch, fetched: Snapshot) -> list[str]:
    """What is begun, in its order, up to the first copy, which is refused."""
    events: list[str] = []

    @contextmanager
    def start(*_: object) -> Iterator[None]:
        events.append("child")
        yield

    def fetch(*_: object) -> Snapshot:
        events.append("download")
        return fetched

    def share(*_: object) -> str:
        events.append("copy")
        raise PatcherError("enough", "")

    monkeypatch.setattr(api, "started", start)
    monkeypatch.setattr(writer, "fetch", fetch)
    monkeypatch.setattr(writer.sharing, "share", share)
    return events


@pytest.mark.parametrize(
    ("storage", "cached", "expected"),
    [
        ("auto", False, ["child", "download", "copy"]),
        ("copy", True, ["child", "download", "copy"]),
        ("link", True, ["child", "download", "copy"]),
        ("link", False, ["download", "child", "copy"]),
    ],
)
def test_the_child_imports_its_libraries_while_weights_are_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str, cached: bool, expected: list[str]
) -> None:
    """Unless it reads them where they are downloaded to: a sandbox shows what is there when it starts."""
    fetched = resolve(str(MINI))
    events = stand_in_events(monkeypatch, fetched)
    snapshot = fetched if cached else replace(fetched, root=None)
    with pytest.raises(PatcherError, match="enough"):
        api.patch_model(make_plan(fetched), snapshot, tmp_path / "out", Verification(texts=()), storage=storage)
    assert events == expected and list(tmp_path.iterdir()) == []


def test_what_was_downloaded_is_checked_before_it_is_copied(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Hub lists the size of what a repository holds, be that weights or a pointer to them."""
    plan, whole = make_plan(resolve(str(mini))), resolve(str(mini))
    (mini / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    events = stand_in_events(monkeypatch, resolve(str(mini)))
    for verification in (None, Verification(texts=())):
        with pytest.raises(SourceError, match=r"model\.safetensors of .* is a Git LFS pointer"):
            api.patch_model(plan, replace(whole, root=None), tmp_path / "out", verification)
    assert "copy" not in events and not (tmp_path / "out").exists()


def planned_without_weights(folder: Path, options: Options) -> tuple[Plan, Snapshot]:
    """The plan of a model of the Hub whose weights were not downloaded yet, and the model once they are."""
    whole = resolve(str(folder))
    weights = (folder / "model.safetensors").rename(folder.parent / "weights")
    plan = make_plan(whole, options)
    weights.rename(folder / "model.safetensors")
    return plan, whole


def test_weights_that_are_for_another_class_than_config_json_says_are_planned_for_again(tmp_path: Path) -> None:
    folder, out = write_classifier(tmp_path / "model"), tmp_path / "out"
    configure(folder, architectures=["GptBertForMaskedLM"])
    repairs = Options.choose(["repairs"])
    plan, snapshot = planned_without_weights(folder, repairs)
    assert plan.auto_class == "AutoModelForMaskedLM"
    done = api.patch_model(plan, snapshot, out, None)
    assert load(out).auto_class == done.plan.auto_class == "AutoModel"
    assert done.plan == make_plan(snapshot, repairs) and load(out).diff == done.plan.diff
    plan, snapshot = planned_without_weights(folder, Options())
    with pytest.raises(SourceError, match="hold no vocabulary head"):
        api.patch_model(plan, snapshot, tmp_path / "splade", None)
    assert not (tmp_path / "splade").exists()


def test_a_plan_that_the_weights_confirm_is_followed(tmp_path: Path, mini: Path) -> None:
    plan, snapshot = planned_without_weights(mini, Options())
    assert api.patch_model(plan, snapshot, tmp_path / "out", None).plan is plan
