"""The words of the command line for a verification, and what this machine may lack of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from patcher.errors import MissingRequirement, UsageError
from patcher.patching.record import load
from patcher.verify import preconditions, settings
from patcher.verify.messages import Unavailable
from patcher.verify.settings import Verification, check_available, parse_devices, parse_dtype, wants_sparse_encoder
from patcher.verify.verification import verify
from tests.verify.made_up import GOOD, judged
from tests.verify.running import wanted


@pytest.mark.parametrize(
    ("words", "what"), [("tpu", "'tpu'"), ("cpu,cpu", "twice"), ("auto,cpu", "auto"), ("", "''"), ("cpu,", "''")]
)
def test_words_that_name_no_device_are_wrong_usage(words: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        parse_devices(words)


def test_words_that_name_devices_keep_their_order() -> None:
    assert parse_devices("CUDA, cpu") == ("cuda", "cpu")
    with pytest.raises(UsageError, match="float8"):
        parse_dtype("float8")


def test_a_reference_is_compared_on_the_cpu() -> None:
    assert parse_devices("auto", Path("python")) == ("cpu",) and parse_devices("cpu,cuda", Path("python"))[0] == "cpu"
    for change in ({"devices": ("auto",)}, {"devices": ("cuda", "cpu")}, {"dtype": "bfloat16"}):
        with pytest.raises(UsageError, match="--reference"):
            wanted(reference=Path("python"), **change)


def test_sentence_transformers_that_is_missing_is_told_before_a_child_starts(
    patched_once: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = preconditions.find_spec
    monkeypatch.setattr(preconditions, "find_spec", lambda name: None if "sentence" in name else found(name))
    with pytest.raises(MissingRequirement, match="--sparse-encoder needs sentence-transformers") as caught:
        verify(load(patched_once), wanted(sparse_encoder=True))
    assert "sentence-transformers>=6,<7" in caught.value.hint


def test_sparse_encoder_runs_where_it_is_installed_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert [wants_sparse_encoder(asked) for asked in (None, True, False)] == [True, True, False]
    monkeypatch.setattr(settings, "version", lambda _: "5.3.0")  # it has no SparseEncoder for transformers 5
    assert [wants_sparse_encoder(asked) for asked in (None, True, False)] == [False, True, False]
    monkeypatch.setattr(settings, "find_spec", lambda _: None)
    assert [wants_sparse_encoder(asked) for asked in (None, True, False)] == [False, True, False]


def test_a_device_that_ran_is_no_error() -> None:
    check_available(GOOD, "cpu")


def test_a_device_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(MissingRequirement, match=r"no cuda device .* it finds mps, cpu"):
        check_available(replace(GOOD, unavailable=Unavailable(devices=("mps", "cpu"))), "cuda")


def test_an_attention_that_is_not_offered_is_told_with_its_option() -> None:
    with pytest.raises(UsageError, match="one attention only") as caught:
        check_available(replace(GOOD, unavailable=Unavailable(attention="one attention only")), "cpu", "sdpa")
    assert "--attn sdpa" in caught.value.hint


def test_a_verification_is_covered_by_a_report_that_passed_the_same_or_more() -> None:
    report, asked = judged(GOOD), Verification(())
    assert asked.covers(report)
    assert replace(asked, min_logit_sparsity=0.9).covers(report), "a harder limit was passed"
    assert not replace(asked, min_logit_sparsity=0.999).covers(report)
    assert not replace(asked, sparse_encoder=True).covers(report)
    assert not asked.covers(replace(report, texts=1))
    assert not replace(asked, devices=("cpu",), reference=Path("python")).covers(report)
    earlier = tuple(check for check in report.checks if check.name != "modes_agree")
    assert not asked.covers(replace(report, checks=earlier)), "an earlier version ran one mode only"
    assert not asked.covers(judged(replace(GOOD, tensors_changed=("a",))))
