"""What a configuration says of its model, whatever it holds."""

from __future__ import annotations

from typing import Any

import pytest

from patcher.configuration import context_length


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"max_sequence_length": 512}, 512),
        ({"n_positions": 8, "max_position_embeddings": 16}, 16),
        ({"max_sequence_length": True, "n_positions": 8}, 8),
        ({"max_sequence_length": -1}, None),
        ({}, None),
        ([], None),
    ],
)
def test_the_context_is_the_first_number_that_the_known_keys_hold(config: Any, length: int | None) -> None:
    assert context_length(config) == length
