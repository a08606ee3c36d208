"""What the README claims of publishing: the bytes sent don't grow with the weights."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.publish import measure


def test_bytes_sent_do_not_grow_with_the_weights(tmp_path: Path) -> None:
    small, large = (measure(size, tmp_path / str(size)) for size in (1_000_000, 20_000_000))
    assert abs(large.ours[0] - small.ours[0]) < 2_000 and large.ours[0] < 100_000
    assert small.theirs[0] > 1_000_000 and large.theirs[0] > 20_000_000
