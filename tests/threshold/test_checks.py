"""Each of the six checks is broken once by a real fault; all pass on a model that was trained through its cap."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from patcher.threshold.checks import judge, judge_bos
from patcher.threshold.messages import DroppedBos, Interval, Point, Sparsity, Tau, ThresholdMeasured
from patcher.threshold.metrics import interval
from patcher.threshold.sweep import fit
from patcher.verify.messages import Environment
from tests.conftest import MINI
from tests.threshold.made_up import NO_LOSS, ROW, losing, row
from tests.threshold.measuring import USUAL, check, few_questions, lay_out, measured, without_cap_of
from tests.threshold.models import CODE

NAMES = [
    "loads_right",
    "embeddings_finite",
    "weights_fit_cap",
    "query_sparsity",
    "document_sparsity",
    "retrieval_preserved",
]


@pytest.fixture(scope="module")
def copied_once(trained_capped_once: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("repaired") / "copy"
    return folder, lay_out(trained_capped_once, folder)


@pytest.fixture
def copy(copied_once: tuple[Path, Any], tmp_path: Path) -> tuple[Path, Any]:
    """The repaired copy of the trained model, to be damaged, in a folder with a name of its own."""
    folder, model = copied_once
    shutil.copytree(without_cap_of(folder), tmp_path / f"copy-{tmp_path.name}-without-cap")
    return shutil.copytree(folder, tmp_path / f"copy-{tmp_path.name}"), model


BOTH = ("query", "document")
TINY = few_questions(2, among=2)
FEW = few_questions(20, among=20)


def failed(checks: dict[str, Any]) -> list[str]:
    return [name for name, one in checks.items() if not one.passed]


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_all_six_pass_on_a_model_that_was_trained_through_its_cap(copy: tuple[Path, Any]) -> None:
    folder, model = copy
    found = measured(folder, model, FEW, without_cap=without_cap_of(folder))
    checks = {one.name: one for one in judge(found, USUAL, BOTH, 0.01)}
    assert list(checks) == NAMES
    assert failed(checks) == [], checks
    assert checks["embeddings_finite"].value == 8192
    assert all(one.limit is not None and one.detail for one in checks.values())
    fitting = checks["weights_fit_cap"]
    assert fitting.value is not None and fitting.limit is not None and fitting.value > fitting.limit + 0.1
    assert found.raw["query"].sparsity_ratio == 0, "reported, and not judged"
    broken = {one.name: one for one in judge(replace(found, without_cap=None), USUAL, BOTH, 0.01)}
    assert failed(broken) == ["weights_fit_cap"], "what was not measured does not pass"


def test_weights_that_were_trained_without_the_cap_fail_weights_fit_cap(
    trained_uncapped_once: Path, tmp_path: Path
) -> None:
    folder = tmp_path / f"copy-{tmp_path.name}"
    model = lay_out(trained_uncapped_once, folder)
    found = measured(folder, model, FEW, without_cap=without_cap_of(folder))
    checks = {one.name: one for one in judge(found, USUAL, BOTH, 0.01)}
    assert {"weights_fit_cap", "query_sparsity", "document_sparsity"} == set(failed(checks))
    assert fit(found.without_cap) == "without_cap"
    assert found.without_cap is not None and found.without_cap.query_sparsity > 0.98
    assert found.without_cap.ndcg is not None and found.rows[0].ndcg is not None
    assert found.without_cap.ndcg > found.rows[0].ndcg + 0.3


def test_code_as_published_fails_loads_right(copy: tuple[Path, Any]) -> None:
    folder, model = copy
    shutil.copyfile(MINI / CODE, folder / CODE)
    config = json.loads((folder / "config.json").read_text())
    # without this key the published code does not even start on transformers 5
    (folder / "config.json").write_text(json.dumps(config | {"is_decoder": False}))
    checks = check(folder, model, TINY)
    assert not checks["loads_right"].passed
    assert "cos_matrix" in checks["loads_right"].detail


def test_a_tensor_that_the_checkpoint_lacks_fails_loads_right(copy: tuple[Path, Any]) -> None:
    folder, model = copy
    extra = torch.ones(2)  # which transformers leaves out, whatever model it loads
    change_tensors(folder, lambda tensors: (tensors.pop("classifier.emb2vocab.bias"), tensors.update(extra=extra)))
    checks = check(folder, model, TINY)
    assert checks["loads_right"].value == 1
    assert ": classifier.emb2vocab.bias; only in the checkpoint: extra" in checks["loads_right"].detail
    assert not checks["loads_right"].passed


def test_one_weight_that_is_not_a_number_fails_embeddings_finite_and_every_other_check(copy: tuple[Path, Any]) -> None:
    folder, model = copy
    change_tensors(folder, lambda tensors: tensors["classifier.emb2vocab.bias"][5].fill_(torch.nan))
    checks = check(folder, model, TINY)
    assert failed(checks) == NAMES
    assert "not finite" in checks["embeddings_finite"].detail


@pytest.mark.parametrize("kind", BOTH)
def test_a_side_whose_threshold_is_too_small_fails_its_sparsity_alone(copy: tuple[Path, Any], kind: str) -> None:
    small = {"query": 0.05, "document": 0.05, kind: 1e-6}
    checks = check(*copy, replace(TINY, relevant={}, bundled=False), Point(**small))
    assert failed(checks) == [f"{kind}_sparsity"]
    assert checks[f"{kind}_sparsity"].value < checks[f"{kind}_sparsity"].limit


def test_a_model_that_was_not_trained_fails_both_sparsities(capped_once: Path, tmp_path: Path) -> None:
    folder = tmp_path / f"copy-{tmp_path.name}"
    assert {"query_sparsity", "document_sparsity"} <= set(failed(check(folder, lay_out(capped_once, folder), TINY)))


def test_a_threshold_that_is_too_large_fails_retrieval_preserved_alone(copy: tuple[Path, Any]) -> None:
    folder, model = copy
    checks = check(folder, model, FEW, Point(3.2, 3.2), without_cap_of(folder))
    assert failed(checks) == ["retrieval_preserved"]
    assert "ndcg@10" in checks["retrieval_preserved"].detail


MEASURED = ThresholdMeasured(
    tensors=79,
    tensors_changed=(),
    buffers=8,
    buffers_wrong=(),
    not_finite=0,
    width=8192,
    vocab_size=8192,
    raw={"query": Sparsity(8192, 0.0), "document": Sparsity(8192, 0.0)},
    rows=(ROW, row(0.05)),
    without_cap=replace(ROW, ndcg=0.5, losses={**NO_LOSS, "ndcg@10": Interval(0.4, 0.3, 0.5)}),
    sentence_transformers="6",
    environment=Environment("3", "2", "5", "cpu", "float32", "not installed"),
)


def verdicts(found: ThresholdMeasured = MEASURED, kinds: tuple[str, ...] = BOTH) -> dict[str, bool]:
    return {one.name: one.passed for one in judge(found, USUAL, kinds, 0.01)}


def at(**changes: Any) -> dict[str, bool]:
    """The verdicts where the row of the point differs."""
    return verdicts(replace(MEASURED, rows=(ROW, row(0.05, **changes))))


def test_embeddings_of_another_width_fail() -> None:
    assert all(verdicts().values())
    assert not verdicts(replace(MEASURED, width=1024))["embeddings_finite"]


def test_true_zeros_without_a_threshold_are_no_fault() -> None:
    """Half precision underflows to zeros, and `max_active_dims` makes them."""
    sparse = {kind: Sparsity(82, 0.99) for kind in BOTH}
    assert all(verdicts(replace(MEASURED, raw=sparse)).values())


def test_swapped_documents_of_no_relevance_are_reported_and_not_judged() -> None:
    assert all(at(tau=Tau(-0.3, -1.0), exact=0.0, lost=3).values())


def test_only_a_loss_beyond_the_tolerance_that_is_not_chance_fails() -> None:
    assert at(**losing(0.009, 0.005, 0.01))["retrieval_preserved"]
    assert at(**losing(0.05, -0.01, 0.11))["retrieval_preserved"]
    assert not at(**losing(0.05, 0.01, 0.09))["retrieval_preserved"]
    found = judge(replace(MEASURED, rows=(ROW, row(0.05, **losing(0.05, -0.01, 0.11)))), USUAL, BOTH, 0.01)
    assert "too few questions to tell the loss of ndcg@10 from chance" in found[-1].detail


def test_one_flipped_query_of_250_is_no_veto() -> None:
    flipped = interval(np.array([1 - 1 / np.log2(3)] + [0.0] * 249))
    assert at(losses={**NO_LOSS, "ndcg@10": flipped})["retrieval_preserved"]


def test_sparsity_exactly_at_the_limit_passes_and_just_below_does_not() -> None:
    assert at(query_sparsity=0.99)["query_sparsity"]
    assert not at(query_sparsity=0.98999)["query_sparsity"]


def test_without_judgements_what_needs_them_is_left_out() -> None:
    rows = tuple(replace(one, ndcg=None, losses={}) for one in MEASURED.rows)
    found = verdicts(replace(MEASURED, rows=rows, without_cap=None))
    assert list(found) == [name for name in NAMES if name not in ("weights_fit_cap", "retrieval_preserved")]
    assert all(found.values())


def test_a_model_without_a_cap_is_only_asked_whether_it_loads() -> None:
    assert list(verdicts(kinds=())) == ["loads_right", "embeddings_finite"]


def test_a_model_that_did_not_run_fails_everything_and_says_why() -> None:
    broken = replace(MEASURED, failure="KeyError: x", raw={}, rows=(), without_cap=None)
    checks = judge(broken, USUAL, BOTH, 0.01)
    assert [one.name for one in checks] == NAMES
    assert all(not one.passed and "KeyError: x" in one.detail and one.value is None for one in checks)


@pytest.mark.parametrize(
    ("bos", "passed"), [(DroppedBos(2, 50, 0), True), (DroppedBos(2, 50, 1), False), (None, False)]
)
def test_rankings_are_kept_where_every_text_had_the_same_activation_of_the_bos_token(
    bos: DroppedBos | None, passed: bool
) -> None:
    assert [one.passed for one in judge_bos(replace(MEASURED, bos=bos), asked=True)] == [passed]
    assert judge_bos(replace(MEASURED, bos=bos), asked=False) == ()
    assert not judge_bos(replace(MEASURED, bos=bos, failure="no"), asked=True)[0].passed
