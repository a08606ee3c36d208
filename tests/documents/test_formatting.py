"""Numbers as people read them: never rounded to a value that would pass where the true one does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from patcher.documents import formatting


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.0, "0.00 %"), (0.98765, "98.77 %"), (0.999999, "99.99 %"), (1, "100.00 %"), (1.0, "100.00 %")],
)
def test_a_share_is_never_rounded_up_to_all(share: float, shown: str) -> None:
    assert formatting.percent(share) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(999, "999 B"), (1000, "1.0 kB"), (2_500_000, "2.5 MB"), (7_000_000_000, "7.0 GB")]
)
def test_sizes_are_in_powers_of_ten(count: int, shown: str) -> None:
    assert formatting.size(count) == shown


def test_counts_keep_all_digits_and_measured_values_the_significant_ones() -> None:
    assert (formatting.number(1_234_567), formatting.number(0.00001234567)) == ("1,234,567", "1.23457e-05")
    assert (formatting.decimal(1234), formatting.decimal(1234.5)) == ("1,234", "1,234.50")
    assert (formatting.decimal4(0.5), formatting.rounded(1234.6)) == ("0.5000", "1,235")


def test_a_figure_keeps_its_unit_on_its_line_and_words_are_left_alone() -> None:
    assert formatting.unbroken("> 98.00 %") == "> 98.00 %".replace(" ", "\u00a0")
    assert formatting.unbroken("not measured") == "not measured"


@pytest.mark.parametrize(
    "shown",
    [formatting.number, formatting.percent, formatting.decimal, formatting.decimal4, formatting.rounded],
)
def test_what_was_not_measured_is_a_dash(shown: Callable[[float | None], str]) -> None:
    assert shown(None) == "-"
