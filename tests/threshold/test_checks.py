"""Each of the six checks is broken once by a real fault; all pass on the hand-made model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from patcher.threshold.checks import judge
from patcher.threshold.messages import Sparsity, ThresholdMeasured
from patcher.threshold.sweep import Row
from patcher.verify.messages import Environment
from tests.conftest import MINI
from tests.threshold.measuring import check, few_questions, lay_out
from tests.threshold.models import CODE

NAMES = [
    "loads_right",
    "embeddings_finite",
    "raw_metric_is_zero",
    "query_sparsity",
    "document_sparsity",
    "rankings_preserved",
]


@pytest.fixture(scope="module")
def copied_once(hand_made_once: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("repaired") / "copy"
    return folder, lay_out(hand_made_once, folder)


@pytest.fixture
def copy(copied_once: tuple[Path, Any], tmp_path: Path) -> tuple[Path, Any]:
    """The repaired copy of the hand-made model, to be damaged, in a folder with a name of its own."""
    folder, model = copied_once
    return shutil.copytree(folder, tmp_path / f"copy-{tmp_path.name}"), model


TINY = few_questions(2, among=2)


def failed(checks: dict[str, Any]) -> list[str]:
    return [name for name, one in checks.items() if not one.passed]


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_all_six_pass_on_the_hand_made_model(copy: tuple[Path, Any]) -> None:
    checks = check(*copy)
    assert list(checks) == NAMES
    assert failed(checks) == []
    assert checks["raw_metric_is_zero"].value == 0
    assert checks["embeddings_finite"].value == 8192
    assert all(one.limit is not None and one.detail for one in checks.values())


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
    assert "; only in the checkpoint: extra: classifier.emb2vocab.bias" in checks["loads_right"].detail
    assert not checks["loads_right"].passed


def test_one_weight_that_is_not_a_number_fails_embeddings_finite_and_every_other_check(copy: tuple[Path, Any]) -> None:
    folder, model = copy
    change_tensors(folder, lambda tensors: tensors["classifier.emb2vocab.bias"][5].fill_(torch.nan))
    checks = check(folder, model, TINY)
    assert failed(checks) == NAMES
    assert "not finite" in checks["embeddings_finite"].detail


def test_a_head_without_its_cap_fails_raw_metric_is_zero(copy: tuple[Path, Any], patched_once: Path) -> None:
    folder, model = copy
    shutil.copyfile(patched_once / CODE, folder / CODE)
    checks = check(folder, model, TINY)
    assert checks["raw_metric_is_zero"].value > 0.9
    assert not checks["raw_metric_is_zero"].passed


def test_queries_that_unite_too_many_words_fail_query_sparsity_alone(copy: tuple[Path, Any]) -> None:
    texts = few_questions(3, among=3)
    everything = " ".join(texts.documents.values())
    long = {query: f"{text} {everything}" for query, text in texts.queries.items()}
    checks = check(*copy, replace(texts, queries=long, relevant={}, bundled=False))
    assert failed(checks) == ["query_sparsity"]
    assert checks["query_sparsity"].value < checks["query_sparsity"].limit


def test_documents_that_unite_too_many_words_fail_document_sparsity_alone(copy: tuple[Path, Any]) -> None:
    texts = few_questions(3, among=3)
    everything = " ".join(texts.documents.values())
    documents = {str(i): f"{everything} {text}" for i, text in enumerate(list(texts.documents.values())[:3])}
    checks = check(*copy, replace(texts, documents=documents, relevant={}, bundled=False))
    assert "document_sparsity" in failed(checks)
    assert "query_sparsity" not in failed(checks)


def test_a_threshold_that_is_too_large_fails_rankings_preserved_alone(copy: tuple[Path, Any]) -> None:
    assert failed(check(*copy, threshold=2.5)) == ["rankings_preserved"]


def test_a_trained_model_that_was_not_trained_long_enough_fails_both_sparsities(
    capped_once: Path, tmp_path: Path
) -> None:
    folder = tmp_path / f"copy-{tmp_path.name}"
    checks = check(folder, lay_out(capped_once, folder), TINY)
    assert checks["raw_metric_is_zero"].passed
    assert {"query_sparsity", "document_sparsity"} <= set(failed(checks))


ROW = Row(0.05, 0.995, 40, 0.995, 40, 9, 0, 0.9, 0.99, 0.95, 1.0, 1.0)
REFERENCE = replace(ROW, threshold=0.0, query_sparsity=0.0, document_sparsity=0.0, exact=1.0, tau=1.0)
MEASURED = ThresholdMeasured(
    tensors=79,
    tensors_changed=(),
    buffers=8,
    buffers_wrong=(),
    not_finite=0,
    width=8192,
    vocab_size=8192,
    raw={"query": Sparsity(8192, 0.0), "document": Sparsity(8192, 0.0)},
    rows=(),
    sentence_transformers="6",
    environment=Environment("3", "2", "5", "cpu", "float32", "not installed"),
)


def verdicts(
    measured: ThresholdMeasured = MEASURED, row: Row = ROW, bundled: bool = False, **kwargs: Any
) -> dict[str, bool]:
    kinds = kwargs.get("kinds", ("query", "document"))
    return {one.name: one.passed for one in judge(measured, [REFERENCE, row], 0.05, kinds, 10, bundled=bundled)}


def test_embeddings_of_another_width_fail() -> None:
    assert not verdicts(replace(MEASURED, width=1024))["embeddings_finite"]


def test_a_user_s_model_may_be_wrong_where_it_was_wrong_before_but_not_on_the_bundled_questions() -> None:
    assert verdicts()["rankings_preserved"]
    assert not verdicts(bundled=True)["rankings_preserved"]
    assert verdicts(row=replace(ROW, right_first=10), bundled=True)["rankings_preserved"]


def test_one_right_document_that_lost_its_place_fails() -> None:
    assert not verdicts(row=replace(ROW, lost=1))["rankings_preserved"]


def test_different_top_tens_fail_although_their_order_is_kept() -> None:
    assert not verdicts(row=replace(ROW, exact=0.4))["rankings_preserved"]


def test_sparsity_exactly_at_the_limit_passes_and_just_below_does_not() -> None:
    assert verdicts(row=replace(ROW, query_sparsity=0.99))["query_sparsity"]
    assert not verdicts(row=replace(ROW, query_sparsity=0.98999))["query_sparsity"]


def test_queries_that_pass_no_capped_head_do_not_count_for_the_raw_metric() -> None:
    sparse = replace(MEASURED, raw={"query": Sparsity(82, 0.99), "document": Sparsity(8192, 0.0)})
    assert verdicts(sparse, kinds=("document",))["raw_metric_is_zero"]
    assert not verdicts(sparse)["raw_metric_is_zero"]


def test_a_model_without_a_cap_is_only_asked_whether_it_loads() -> None:
    assert list(verdicts(kinds=())) == ["loads_right", "embeddings_finite"]


def test_a_model_that_did_not_run_fails_everything_and_says_why() -> None:
    checks = judge(replace(MEASURED, failure="KeyError: x", raw={}), [], 0.05, ("query", "document"), 10, bundled=True)
    assert [one.name for one in checks] == NAMES
    assert all(not one.passed and "KeyError: x" in one.detail and one.value is None for one in checks)
