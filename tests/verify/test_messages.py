"""What a child writes is checked when it is read: a broken answer is one error with a hint, whatever its kind."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patcher.codec import from_json, to_json
from patcher.errors import MissingRequirement, VerificationError
from patcher.patching.record import load
from patcher.source.snapshot import resolve
from patcher.threshold.evaluation import bundled_questions
from patcher.threshold.measure import Request, measure
from patcher.threshold.messages import Sparsity, ThresholdMeasured
from patcher.threshold.repaired import repair
from patcher.verify.messages import (
    EncoderLoaded,
    Environment,
    Measured,
    ProbeTerms,
    SingleMeasured,
    TopTerms,
    Unavailable,
)
from patcher.verify.verification import verify
from tests.sandbox.stand_in import answer_with
from tests.threshold.made_up import row
from tests.verify.made_up import GOOD, NOTHING
from tests.verify.running import repaired, wanted

ENVIRONMENT = Environment("3", "2", "5", "cpu", "float32", "not installed")
SIDE = TopTerms(1, (("Oslo", 1.5),))
PAIR = replace(GOOD, probe_texts=(ProbeTerms(id="1", language="nb", text="a", tokens=2, base=SIDE, patched=SIDE),))
KEPT = SingleMeasured(
    **NOTHING, environment=ENVIRONMENT, positions=5, patched=GOOD.base, sparse_encoder=EncoderLoaded("6", True, 0)
)
THRESHOLD = ThresholdMeasured(
    **NOTHING,
    environment=ENVIRONMENT,
    sentence_transformers="6",
    width=9,
    vocab_size=9,
    raw={"query": Sparsity(9.0, 0.0)},
    rows=(row(0.0),),
)


@pytest.fixture(params=["pair", "kept cap", "threshold"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Measured, Callable[[], object]]:
    """A good answer of a kind of child, and what starts such a child."""
    if request.param == "pair":
        folder = request.getfixturevalue("patched_once")
        return PAIR, lambda: verify(load(folder), wanted())
    source = request.getfixturevalue("capped_once")
    if request.param == "kept cap":
        out = repaired(source, tmp_path / f"out-{tmp_path.name}")
        return KEPT, lambda: verify(load(out), wanted())
    model = repair(resolve(str(source)))
    return THRESHOLD, lambda: measure(model, bundled_questions(), Request(device="cpu"))


@pytest.mark.parametrize("good", [PAIR, KEPT, THRESHOLD], ids=["pair", "kept cap", "threshold"])
def test_an_answer_is_read_as_it_was_written(good: Measured) -> None:
    assert from_json(type(good), json.loads(json.dumps(to_json(good)))) == good


def test_a_broken_answer_is_one_error_with_a_hint(
    kind: tuple[Measured, Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    good, run = kind
    written = to_json(good)
    broken = [
        {**written, "buffers": "many"},
        {**written, "tensors": True},
        {**written, "environment": {}},
        {**written, "tensors_changed": [1]},
        {**written, "unavailable": "cuda"},
        {key: value for key, value in written.items() if key != "not_finite"},
        [],
        None,
    ]
    for content in broken:
        answer_with(monkeypatch, content)
        with pytest.raises(VerificationError, match=r"^The child process's answer can't be read: .") as caught:
            run()
        assert caught.value.hint


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"positions": "many"}, "positions"),
        ({"head_dtype": "int8"}, "head_dtype"),
        ({"patched": {}}, "patched.min"),
        ({"probe_texts": [{}]}, "probe_texts"),
        ({"agreement": {"largest": "0", "texts": 1}}, "agreement.largest"),
    ],
)
def test_the_error_names_the_field(
    patched_once: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], named: str
) -> None:
    answer_with(monkeypatch, {**to_json(PAIR), **change})
    with pytest.raises(VerificationError, match=re.escape(named)):
        verify(load(patched_once), wanted())


def test_a_device_that_is_not_there_is_told_in_the_same_two_lines_by_every_kind(
    kind: tuple[Measured, Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    good, run = kind
    answer_with(monkeypatch, to_json(replace(good, unavailable=Unavailable(devices=("mps",)))))
    with pytest.raises(MissingRequirement) as caught:
        run()
    assert caught.value.message == "There is no cpu device that torch can use here; it finds mps."
    assert caught.value.hint == "Leave out --device, or install a torch build that supports it."
