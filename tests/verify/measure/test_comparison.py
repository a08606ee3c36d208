"""Two models' logits, written by hand: every single one that is wrong shows, wherever it stands."""

from __future__ import annotations

import math

import pytest
import torch

from patcher.verify.measure.comparison import Comparison
from patcher.verify.messages import CapFunction

CAP = CapFunction("sigmoid", 30.0, 7.5)
SHIFTED = CapFunction("sigmoid", 30.0, 7.5, 2.0)
Text = tuple[torch.Tensor, torch.Tensor]


def text(tokens: int, cap: CapFunction = CAP, seed: int = 0) -> Text:
    """The base's and the patched logits [tokens, 8] of a text that obeys the cap; its first row is synthetic."""
    raw = torch.randn(tokens, 8, generator=torch.Generator().manual_seed(seed)) * 5
    capped = cap.scale * torch.sigmoid((raw + cap.shift) / cap.temperature)
    capped[0] = raw[0]
    return capped, raw


def compared(*texts: Text, cap: CapFunction = CAP) -> Comparison:
    found = Comparison(cap)
    found.add(texts)
    return found


@pytest.mark.parametrize("cap", [CAP, SHIFTED])
def test_logits_that_obey_the_cap_differ_in_nothing(cap: CapFunction) -> None:
    found = compared(text(5, cap), text(3, cap, seed=1), cap=cap)
    assert found.cap_error <= 1e-5
    assert found.predictions_changed == found.rankings_changed == 0


def one_hot(value: float = 1.0) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(3), 8) * value


@pytest.mark.parametrize(
    ("base", "patched", "wrong"),
    [
        (one_hot(), torch.zeros(8), 0),
        (one_hot(), one_hot(), 1),
        (one_hot(), one_hot(math.nan), 1),
        (one_hot(), one_hot(-1.0), 1),
        (torch.ones(8), torch.zeros(8), 1),
        (torch.zeros(8), torch.zeros(8), 1),
        (one_hot(-1.0), torch.zeros(8), 1),
    ],
)
def test_a_dropped_first_row_was_the_bos_tokens_alone_and_is_zero(
    base: torch.Tensor, patched: torch.Tensor, wrong: int
) -> None:
    texts = [text(4), text(4)]
    texts[1][0][0], texts[1][1][0] = base, patched
    texts[0][0][0], texts[0][1][0] = one_hot(), torch.zeros(8)
    found = Comparison(CAP, drops_bos=True)
    vectors = found.add(texts)
    total = Comparison(CAP, drops_bos=True)
    total.merge(found)
    assert total.bos_rows_wrong == wrong
    assert wrong or found.cap_error <= 1e-5
    assert torch.equal(vectors[0].patched, torch.maximum(vectors[0].raw, torch.zeros(8)))


@pytest.mark.parametrize("off", [0.25, -0.25])
@pytest.mark.parametrize(("row", "dimension"), [(1, 0), (4, 7), (0, 3)])
def test_one_logit_off_the_cap_shows_above_and_below_it(off: float, row: int, dimension: int) -> None:
    wrong = text(5)
    wrong[0][row, dimension] += off
    for texts in ((wrong, text(3)), (text(3), wrong)):
        assert compared(*texts).cap_error == pytest.approx(0.25, abs=1e-5)


def test_the_last_row_of_a_text_that_is_compared_in_chunks_counts() -> None:
    wrong = text(70_000)
    wrong[0][-1, -1] += 0.25
    assert compared(text(3), wrong).cap_error == pytest.approx(0.25, abs=1e-5)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_logit_that_is_not_finite_is_counted_and_leaves_no_error_that_could_pass(side: int, value: float) -> None:
    wrong = text(5)
    wrong[side][2, 3] = value
    for texts in ((wrong, text(3)), (text(3), wrong)):
        whole, merged = compared(*texts), Comparison(CAP)
        for one in texts:
            merged.merge(compared(one))
        for found in (whole, merged):
            assert not math.isfinite(found.cap_error)
            assert (found.base.not_finite, found.patched.not_finite) == ((1, 0) if side == 0 else (0, 1))


def test_another_best_token_is_a_change_and_an_equal_one_is_not() -> None:
    wrong = text(5)
    wrong[1][2, 3] = 99.0
    assert compared(text(3), wrong).predictions_changed == 1
    tied = text(5)
    tied[1][2], tied[0][2] = torch.arange(8.0) + 200, 30.0  # all of them at the cap
    assert compared(tied).predictions_changed == 0


def test_an_order_that_a_shift_disturbs_shows_below_the_best_token() -> None:
    wrong = text(5, SHIFTED)
    order = wrong[1][2].argsort(descending=True)
    wrong[1][2, order[[3, 4]]] = wrong[1][2, order[[4, 3]]]
    found = compared(text(3, SHIFTED), wrong, cap=SHIFTED)
    assert (found.rankings_changed, found.predictions_changed) == (1, 0)


def test_what_was_found_in_one_batch_is_still_there_after_the_last() -> None:
    wrong = text(5, SHIFTED)
    wrong[1][2, 3] = 99.0
    bad, total = compared(wrong, cap=SHIFTED), Comparison(SHIFTED)
    for part in (compared(text(3, SHIFTED), cap=SHIFTED), bad, compared(text(4, SHIFTED), cap=SHIFTED)):
        total.merge(part)
    assert total.cap_error == bad.cap_error > 0.2
    assert total.predictions_changed == bad.predictions_changed == 1
    assert total.rankings_changed == bad.rankings_changed == 1
