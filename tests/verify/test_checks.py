"""The judgement alone: what passes, what fails, and that a value which is not finite never passes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from patcher.verify.checks import files_unchanged, judge, judge_reference, judge_single
from patcher.verify.messages import (
    EncoderFigures,
    EncoderLoaded,
    LogitsMeasured,
    ModeResult,
    OriginalAgreement,
    OriginalRun,
    PairMeasured,
)
from patcher.verify.report import ModeReport
from patcher.verify.tolerances import cap_tolerance, judge_mode
from tests.verify.made_up import CONVERTED, FILES, GOOD, KEPT_CAP, MODEL, NOT_RUN, RIGHT, judged, patched
from tests.verify.running import failed

CAP_TOLERANCE = cap_tolerance(30, "float32")
KEPT_CAP_CHECKS = {"weights_unchanged", "buffers_rebuilt", "logits_finite", "modes_agree", "sparse_encoder_loads"}


def modes_of(measured: LogitsMeasured) -> tuple[ModeReport, ...]:
    return tuple(judge_mode(one, measured, MODEL.soft_cap) for one in measured.modes)


def failing(measured: PairMeasured, **keywords: Any) -> list[str]:
    checks = judge(measured, modes=modes_of(measured), cap_tolerance=CAP_TOLERANCE, **keywords)
    return [check.name for check in checks if not check.passed]


def test_a_right_model_passes() -> None:
    assert failing(GOOD) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"tensors_changed": ("a.weight",)}, "weights_unchanged"),
        ({"buffers_wrong": ("rope.cos",)}, "buffers_rebuilt"),
        ({"cap_error": 2 * CAP_TOLERANCE}, "cap_removed_exactly"),
        ({"predictions_changed": 1}, "predictions_unchanged"),
        ({"patched": patched(0.0, 0.99)}, "negative_logits"),
        ({"patched": patched(0.5, 0.98)}, "relu_sparsity"),
        ({"modes": (RIGHT, replace(RIGHT, name="labels", wrong="no logit is negative"))}, "modes_agree"),
    ],
)
def test_each_fault_fails_its_own_check(change: dict[str, Any], name: str) -> None:
    assert failing(replace(GOOD, **change)) == [name]


def test_a_changed_file_fails_the_weights_although_the_tensors_look_right() -> None:
    assert failing(GOOD, files_changed=("model.safetensors",)) == ["weights_unchanged"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_cap_error_that_is_not_finite_fails(value: float) -> None:
    assert failing(replace(GOOD, cap_error=value)) == ["cap_removed_exactly"]


@pytest.mark.parametrize("change", [{"not_finite": 1}, {"positions": 0}, {"failure": "ValueError: no"}])
def test_a_run_that_proves_nothing_fails_everything(change: dict[str, Any]) -> None:
    assert len(failing(replace(GOOD, **change))) == 7


@pytest.mark.parametrize("missing", [None, patched(math.nan, math.nan), patched(math.inf, math.inf)])
def test_figures_that_are_missing_or_not_finite_fail_their_checks(missing: Any) -> None:
    assert failing(replace(GOOD, patched=missing)) == ["negative_logits", "relu_sparsity"]


def test_a_value_exactly_at_its_limit_is_within_the_tolerance_and_not_beyond_the_limit() -> None:
    assert failing(replace(GOOD, cap_error=CAP_TOLERANCE)) == []
    assert failing(replace(GOOD, patched=patched(0.5, 0.98))) == ["relu_sparsity"]


@pytest.mark.parametrize(("changed", "fails"), [(0, []), (1, ["rankings_kept"])])
def test_shifted_logits_have_to_keep_their_rankings(changed: int, fails: list[str]) -> None:
    measured = replace(GOOD, rankings_changed=changed)
    assert failing(measured, shifted=True) == fails
    assert failing(measured) == [], "nothing but a shift could disturb them"


def test_a_cap_that_stays_has_to_be_lowered_by_the_constant_alone() -> None:
    assert failing(GOOD, shifted=True, kept=True) == []
    assert failing(replace(GOOD, cap_error=1.0), shifted=True, kept=True) == ["cap_lowered_exactly"]


@pytest.mark.parametrize(("wrong", "fails"), [(0, []), (1, ["bos_row_dropped"]), (None, ["bos_row_dropped"])])
def test_a_first_row_that_was_to_be_dropped_has_to_be_zero(wrong: int | None, fails: list[str]) -> None:
    measured = replace(GOOD, bos_rows_wrong=wrong)
    assert failing(measured, drops_bos=True) == fails
    assert failing(measured) == [], "nobody asked for it"
    single = replace(KEPT_CAP, bos_rows_wrong=wrong)
    assert [one.name for one in judge_single(single, modes=modes_of(single), drops_bos=True) if not one.passed] == fails


def test_the_limit_of_logit_sparsity_can_be_set() -> None:
    assert failing(GOOD, min_logit_sparsity=0.995) == ["relu_sparsity"]


@pytest.mark.parametrize(
    "found", [{"pooling": "Pooling", "disagreements": 0}, {"pooling": "SpladePooling", "disagreements": 1}]
)
def test_a_sparse_encoder_that_disagrees_or_pools_otherwise_fails(found: dict[str, Any]) -> None:
    encoder = EncoderFigures(version="6", base={}, patched={}, **found)
    assert failing(replace(GOOD, sparse_encoder=encoder)) == ["sparse_encoder_agrees"]


def test_a_weight_file_with_another_hash_fails_although_the_tensors_look_right() -> None:
    assert failed(judged(GOOD, files={"model.safetensors": "b"})) == {"weights_unchanged"}
    wrong = judged(GOOD, model=CONVERTED, files={"model.safetensors": "b"})
    assert failed(wrong) == {"weights_unchanged", "weights_converted"}


def test_a_converted_file_that_is_gone_fails() -> None:
    assert "weights_converted" in failed(judged(GOOD, model=CONVERTED, files={}))


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        ({}, set()),
        ({"tensors_changed": ("a",)}, {"weights_unchanged"}),
        ({"buffers_wrong": ("a",)}, {"buffers_rebuilt"}),
        ({"not_finite": 1}, {"logits_finite"}),
        ({"sparse_encoder": EncoderLoaded("6", False, 0)}, {"sparse_encoder_loads"}),
        ({"sparse_encoder": EncoderLoaded("6", True, 3)}, {"sparse_encoder_loads"}),
        ({"sparse_encoder": EncoderLoaded("6", True, 0, other_modules=("Pooling",))}, {"sparse_encoder_loads"}),
        ({"positions": 0}, KEPT_CAP_CHECKS),
        ({"failure": "boom"}, KEPT_CAP_CHECKS),
        ({"modes": (ModeResult("train", wrong="1 of 9 values are not finite"),)}, {"modes_agree"}),
    ],
)
def test_each_check_fails_by_itself(change: dict[str, Any], fails: set[str]) -> None:
    measured = replace(KEPT_CAP, **change)
    found = judge_single(measured, modes=modes_of(measured))
    assert {check.name for check in found if not check.passed} == fails


@pytest.mark.parametrize(
    ("files", "value", "detail"),
    [
        ({}, 0, ""),
        ({"model.safetensors": "b"}, 1, "; changed: model.safetensors"),
        ({"model.safetensors": None}, 1, "; missing: model.safetensors"),
        ({"more.py": "x", "sub/more.py": "x"}, 2, "; added: more.py, sub/more.py"),
        ({"tokenizer.json": "x"}, 1, "; added: tokenizer.json"),
        ({"generation_config.json": "x"}, 1, "; added: generation_config.json"),
        ({"adapter_model.safetensors": "x"}, 1, "; added: adapter_model.safetensors"),
        ({"a": "x", "b": "x", "c": "x", "d": "x"}, 0, "; not in the record: a, b, c, ..."),
        ({"patch.json": "x"}, 0, ""),
    ],
)
def test_the_folder_has_to_hold_what_patch_wrote(files: dict[str, str | None], value: int, detail: str) -> None:
    there = {path: digest for path, digest in {**FILES, **files}.items() if digest is not None}
    found = files_unchanged(MODEL, there, {""})
    assert (found.passed, found.value, found.limit) == (value == 0, value, 0)
    assert found.detail.startswith(f"files that differ from patch.json, of 1{detail}")


def test_notes_and_checkpoints_beside_the_model_are_named_and_fail_nothing() -> None:
    found = files_unchanged(MODEL, {**FILES, "notes.txt": "x", "checkpoint-1/model.safetensors": "x"}, {""})
    assert found.passed and found.detail.endswith("; not in the record: checkpoint-1/model.safetensors, notes.txt")


@pytest.mark.parametrize("modes", [(), (NOT_RUN,)])
def test_a_model_that_was_run_in_no_mode_fails(modes: tuple[ModeResult, ...]) -> None:
    assert failing(replace(GOOD, modes=modes)) == ["modes_agree"]


def test_the_detail_names_the_modes_that_are_wrong_and_those_that_were_not_run() -> None:
    measured = replace(GOOD, modes=(RIGHT, replace(RIGHT, name="labels", wrong="its loss is nan"), NOT_RUN))
    (check,) = (check for check in judge(measured, modes=modes_of(measured)) if check.name == "modes_agree")
    assert (check.value, check.limit) == (1, 0)
    assert check.detail == (
        "modes of use that are wrong, of 2: labels (its loss is nan); not run: attentions (its code returns none)"
    )


@pytest.mark.parametrize(
    ("found", "passes"),
    [
        (OriginalAgreement(9e-5, 10.0, 3), True),
        (OriginalAgreement(2e-4, 10.0, 3), False),
        (OriginalAgreement(2e-5, 0.1, 3), False),
        (OriginalAgreement(0.0, 10.0, 2), False),  # a text less than the published code ran
        (OriginalAgreement(math.nan, 10.0, 3), False),
        (OriginalAgreement(math.inf, 10.0, 3), False),
        (None, False),
    ],
)
def test_the_published_code_has_to_agree_on_every_text_that_it_ran(
    found: OriginalAgreement | None, passes: bool
) -> None:
    check = judge_reference(replace(KEPT_CAP, original=found), OriginalRun("4.57.6", 3))
    assert (check.name, check.passed) == ("reference_agrees", passes) and "4.57.6" in check.detail


def test_outputs_of_other_classes_have_to_be_finite_too() -> None:
    measured = replace(KEPT_CAP, sparse_encoder=None, not_finite=2)
    found = judge_single(measured, (), modes_of(measured), "AutoModel")
    assert [check.name for check in found if not check.passed] == ["outputs_finite"]
