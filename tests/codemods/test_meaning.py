"""Equal by meaning: generated heads are run before and after, and the cap is all that is between them.

300 of them here, 2,000 each night, and with `PATCHER_TEST_PROGRAMS=50000` (make test-nightly) other ones each time.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, assume, given, settings

from patcher.codemods import Applied, LeftAlone, NotNeeded, Refused, Target, find_cap
from tests.codemods.programs import Program, configuration, loaded, logits_of, programs
from tests.codemods.shapes import ACCEPTED, BESIDE, REFUSED, SIGNED_CAPS, Shape
from tests.codemods.tools import assert_only_intended, find_and_remove, package_of

PROGRAMS = int(os.environ.get("PATCHER_TEST_PROGRAMS", "300"))
KINDS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh}


def each_of(shapes: Sequence[Shape], count: int, check: Callable[[Program], None]) -> None:
    """Check at least so many programs, the same number of each shape."""
    met: Counter[str] = Counter()
    for shape in shapes:

        @settings(
            max_examples=-(-count // len(shapes)),
            derandomize=PROGRAMS <= 2000,
            database=None,
            deadline=None,
            print_blob=True,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(programs(shape))
        def holds(program: Program) -> None:
            check(program)
            met[program.shape.name] += 1

        holds()
    assert met.total() >= count
    assert set(met) == {shape.name for shape in shapes}


def patched(program: Program, **options: Any) -> tuple[dict[str, str], Any]:
    """The files after the codemod, proved, and the record of the cap."""
    outcomes = find_and_remove(package_of(program.files, program.settings), **options)
    assert not isinstance(outcomes, Refused), outcomes
    after, record = dict(program.files), None
    for path, outcome in ((path, one) for path, one in outcomes.items() if path != "config.json"):
        assert isinstance(outcome, Applied), outcome
        after[path], record = outcome.code.decode(), outcome.soft_cap
        assert_only_intended(program.files[path], after[path], outcome.spans, path)
    return after, record


def run(program: Program, files: dict[str, str], capped: bool, return_dict: bool) -> tuple[torch.Tensor, Any]:
    """The logits, and what the other method of the class gives."""
    with loaded(files) as module, torch.no_grad():
        torch.manual_seed(program.seed)
        head = module.Head(configuration(program.settings)).double()
        head.capped = capped
        h = torch.randn(4, 4, dtype=torch.float64) * program.temperature
        forward = {"return_dict": return_dict} if "return_dict" in program.shape.body else {}
        return logits_of(head(h.clone(), **forward)), head.aux(h)


def same_formula(program: Program) -> None:
    after, record = patched(program)
    assert record.kind == program.shape.kind
    assert (record.scale, record.temperature) == pytest.approx((program.scale, program.temperature), rel=1e-9)
    for capped in (
        (True, False) if "self.capped" in program.files["modeling.py"].replace("self.capped =", "") else (True,)
    ):
        for return_dict in (True, False) if "return_dict" in program.shape.body else (True,):
            original, aux = run(program, dict(program.files), capped, return_dict)
            raw, aux_after = run(program, after, capped, return_dict)
            assert original.dtype == raw.dtype and all(map(torch.equal, aux, aux_after))
            cap = record.scale * KINDS[record.kind](raw.double() / record.temperature)
            exact = 1e-5 if ".float()" in program.files["modeling.py"] else 1e-9
            holds = torch.allclose(original.double(), cap, rtol=exact, atol=exact * record.scale)
            assert holds or (not capped and torch.equal(original, raw))


def test_the_original_is_the_cap_of_the_patched_in_generated_programs() -> None:
    each_of(ACCEPTED, PROGRAMS, same_formula)


def test_a_kept_cap_gives_the_constant_less_and_a_second_run_changes_nothing_in_generated_programs() -> None:
    def check(program: Program) -> None:
        shift = math.expm1(0.05)
        after, record = patched(program, keep=True, shift=shift)
        assert record.kept and record.threshold == pytest.approx(0.05)
        found = find_cap(package_of(after, program.settings), Target("Head", "modeling.py"))
        assert isinstance(found, NotNeeded) and found.soft_cap is not None and found.soft_cap.kept
        switched = "self.capped" in program.files["modeling.py"].replace("self.capped =", "")
        for capped in (True, False) if switched else (True,):
            original, aux = run(program, dict(program.files), capped, True)
            now, aux_after = run(program, after, capped, True)
            assert original.dtype == now.dtype and all(map(torch.equal, aux, aux_after))
            expected = original - shift
            assert torch.allclose(now, expected, rtol=0, atol=1e-5) or (not capped and torch.equal(original, now))

    each_of(ACCEPTED, PROGRAMS // 3, check)


def test_a_signed_cap_is_named_and_left_alone_in_generated_programs() -> None:
    def check(program: Program) -> None:
        outcomes = find_and_remove(package_of(program.files, program.settings))
        assert not isinstance(outcomes, Refused)
        for outcome in outcomes.values():
            assert isinstance(outcome, LeftAlone) and outcome.soft_cap.kind == "tanh"
            numbers = (outcome.soft_cap.scale, outcome.soft_cap.temperature)
            assert numbers == pytest.approx((program.scale, program.temperature), rel=1e-9)

    each_of(SIGNED_CAPS, PROGRAMS // 20, check)


def test_what_only_looks_like_a_cap_stays_in_generated_programs() -> None:
    def check(program: Program) -> None:
        after, _ = patched(program)
        quoted = program.shape.quoted
        assert after["modeling.py"].count(quoted) == program.files["modeling.py"].count(quoted)
        same_formula(program)

    each_of(BESIDE, PROGRAMS // 10, check)


def test_what_is_no_cap_is_refused_in_generated_programs() -> None:
    def check(program: Program) -> None:
        assume(program.scale != 5)  # "two scales" would be one
        outcome = find_and_remove(package_of(program.files, program.settings))
        assert isinstance(outcome, Refused), outcome
        assert outcome.name == program.shape.refused or program.shape.refused == "no-cap"  # the gate beside it is told

    each_of(REFUSED, PROGRAMS // 5, check)
