"""Reads of config.is_decoder get a default where config.json has none."""

from __future__ import annotations

import pytest

from patcher.codemods import NotNeeded
from tests.codemods.tools import check, run


def test_a_configuration_with_the_key_needs_nothing() -> None:
    assert isinstance(run("is_decoder", "x = config.is_decoder\n", config={"is_decoder": False}), NotNeeded)


@pytest.mark.parametrize("line", ["config.is_decoder = True", "del config.is_decoder", "x = model.is_decoder", "x = 1"])
def test_what_is_no_read_of_the_configuration_needs_nothing(line: str) -> None:
    assert isinstance(run("is_decoder", f"{line}\n"), NotNeeded)


@pytest.mark.parametrize("config", ["config", "self.config", "decoder.config"])
def test_a_read_of_is_decoder_gets_its_default(config: str) -> None:
    check(
        "is_decoder",
        f"causal = not ({config}.is_decoder) and True  # why\n",
        f'causal = not (getattr({config}, "is_decoder", False)) and True  # why\n',
    )
