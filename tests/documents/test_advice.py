"""After a failed threshold check: by how much, on which texts, and what can be done; otherwise no advice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from patcher.documents.advice import advise, lines
from patcher.source.snapshot import Source
from patcher.verify.report import Check, Report

CURVE = [
    {"shift": 0.0, "logit_sparsity": 0.9521, "embedding_sparsity": 0.61},
    {"shift": 0.5, "logit_sparsity": 0.98, "embedding_sparsity": 0.7},
    {"shift": 0.75, "logit_sparsity": 0.9812, "embedding_sparsity": 0.8},
    {"shift": 1.0, "logit_sparsity": 0.9999, "embedding_sparsity": 0.9},
]
BINS = [
    {"tokens": [1, 16], "texts": 12, "mean": 0.9, "min": 0.8, "p10": 0.8, "median": 0.9, "p90": 0.95},
    {"tokens": [257, 512], "texts": 1, "mean": 0.4, "min": 0.4, "p10": 0.4, "median": 0.4, "p90": 0.4},
]


def probe(name: str, active: int, text: str = "Oslo") -> dict[str, Any]:
    side = {"active_dims": active, "terms": []}
    return {"id": name, "language": "nb", "text": text, "tokens": 7, "before": side, "after": side}


def report(value: float | None = 0.9521, limit: float = 0.98, **after: Any) -> Report:
    passed = value is not None and value > limit
    return Report(
        source=Source("ltg/norbert4-base", "386ba2dc5ae5f95fec86d580c5fc4af34d380126", None),
        environment={},
        checks=(Check("cap_removed_exactly", True, 0.0, 1e-5, ""), Check("relu_sparsity", passed, value, limit, "")),
        base={},
        patched=after,
        files={},
        texts=13,
        probe_texts=(
            probe("nb-1", 30),
            probe("nb-2", 4000, "Det  var\n" + "en gang " * 40),
            probe("nb-3", 31),
            probe("nb-4", 1),
        ),
    )


def test_a_threshold_check_that_passed_needs_no_advice() -> None:
    assert advise(report(0.99)) is None


def test_what_was_not_measured_gets_no_advice() -> None:
    assert advise(report(None)) is None


def test_no_limit_mends_a_model_that_fails_another_check() -> None:
    broken = report()
    wrong = replace(broken.checks[0], passed=False)
    assert advise(replace(broken, checks=(wrong, *broken.checks[1:]))) is None


def test_a_model_without_negative_logits_fails_for_the_same_reason_and_gets_advice() -> None:
    dense = report(0.0)
    found = advise(replace(dense, checks=(*dense.checks, Check("negative_logits", False, 0.0, 0, ""))))
    assert found is not None
    assert [choice.command.split()[1] for choice in found.choices] == ["patch"], "no limit lets a sparsity of 0 pass"


def test_it_says_by_how_much() -> None:
    found = advise(report())
    assert found is not None and found.verdict == (
        "Logit sparsity is 95.21 % and has to exceed 98 %; it falls short by 2.8 percentage points."
    )


def test_it_says_on_which_lengths_and_texts() -> None:
    found = advise(report(by_length=BINS))
    assert found is not None
    assert found.where == (
        "Embedding sparsity is lowest for 1 text of 257 to 512 tokens, 40.00 % on average, and highest for those of "
        "1 to 16 tokens, 90.00 %.",
    )
    assert [text.split(":")[0] for text in found.densest] == ["nb-2", "nb-3", "nb-1"]
    assert (
        "Det var en gang en gang" in found.densest[0]
        and found.densest[0].endswith("…")
        and "\n" not in found.densest[0]
    )


def test_one_length_is_no_comparison() -> None:
    found = advise(report(by_length=BINS[:1]))
    assert found is not None and found.where == ()


@pytest.mark.parametrize(("value", "lower"), [(0.9521, "0.95"), (0.95, "0.94"), (0.004, "0")])
def test_the_lower_limit_is_one_that_the_model_exceeds(value: float, lower: str) -> None:
    found = advise(report(value), "build/my model")
    assert found is not None and float(lower) < value
    assert found.choices[0].command == f"patcher verify 'build/my model' --min-logit-sparsity {lower}"


def test_the_constant_is_the_first_of_the_curve_that_exceeds_the_limit() -> None:
    found = advise(report(curve=CURVE), "out")
    assert found is not None and found.shift == 0.75
    assert "about 0.75, which makes embedding sparsity 80.00 %" in found.choices[1].what
    assert found.choices[1].command == (
        "patcher patch ltg/norbert4-base --revision 386ba2dc5ae5f95fec86d580c5fc4af34d380126 --out out --calibrate 0.98"
    )


def test_a_curve_that_does_not_reach_the_limit_names_no_constant() -> None:
    found = advise(report(curve=CURVE[:2]))
    assert found is not None and found.shift is None and "about" not in found.choices[1].what


def test_a_folder_as_source_is_quoted_for_the_shell() -> None:
    found = advise(replace(report(), source=Source(None, None, "/home/kari/my model; rm -rf")))
    assert found is not None and "patch '/home/kari/my model; rm -rf' --out" in found.choices[1].command


def test_the_terminal_is_told_all_of_it() -> None:
    found = advise(report(by_length=BINS, curve=CURVE))
    assert found is not None
    told = "\n".join(lines(found))
    for part in (found.verdict, *found.where, *found.densest, *(choice.command for choice in found.choices)):
        assert part in told
