"""A list of tied weights becomes None, and nothing else of that name changes."""

from __future__ import annotations

import pytest

from patcher.codemods import NotNeeded
from tests.codemods.tools import check, run


@pytest.mark.parametrize("value", ["None", '{"a": "b"}', "NAMES"])
def test_tied_weights_that_transformers_5_reads_need_nothing(value: str) -> None:
    assert isinstance(run("tied_weights", f"class Head(Model):\n    _tied_weights_keys = {value}\n"), NotNeeded)


def test_a_list_inside_a_method_is_nobody_s_business() -> None:
    code = 'class Head(Model):\n    def f(self):\n        _tied_weights_keys = ["a"]\n'
    assert isinstance(run("tied_weights", code), NotNeeded)


@pytest.mark.parametrize("value", ['["a.weight"]', '("a.weight",)', "[]", '[\n        "a.weight",\n    ]'])
@pytest.mark.parametrize("hint", ["", ": list[str]"])
def test_a_list_of_tied_weights_becomes_none(value: str, hint: str) -> None:
    before = f"class Head(Model):\n    _tied_weights_keys{hint} = {value}  # kept\n    x = 1\n"
    check("tied_weights", before, before.replace(value, "None"))
