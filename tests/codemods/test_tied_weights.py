"""A head is tied in transformers 5 where 4.57 ties it, and a list of names becomes None elsewhere."""

from __future__ import annotations

import pytest

from patcher.codemods import Applied, NotNeeded, Refused
from tests.codemods.heads_tied import TIED_HEADS, TiedHead
from tests.codemods.tools import applied, check, run


def outcome_of(head: TiedHead) -> Applied | NotNeeded | Refused:
    config = {} if head.tie_word_embeddings is None else {"tie_word_embeddings": head.tie_word_embeddings}
    found = run("tied_weights", head.code(), config=config)
    assert isinstance(found, (Applied, NotNeeded, Refused))
    if isinstance(found, Applied):
        applied("tied_weights", head.code(), config=config)
    return found


@pytest.mark.parametrize("head", TIED_HEADS, ids=[head.name for head in TIED_HEADS])
def test_a_head_is_tied_where_4_57_ties_it(head: TiedHead) -> None:
    found = outcome_of(head)
    if not head.written:
        assert isinstance(found, NotNeeded if head.written is None else Refused), found
        assert not isinstance(found, Refused) or found.name == "tied-head"
        return
    assert isinstance(found, Applied), found
    assert f"    {head.written}\n" in found.code.decode()
    assert (b"def tie_weights(" in found.code) == head.ties
    assert sum(line.startswith(b"    _tied_weights_keys") for line in found.code.splitlines()) == 1


@pytest.mark.parametrize("value", ["None", '{"a": "b"}', "make_names()"])
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
