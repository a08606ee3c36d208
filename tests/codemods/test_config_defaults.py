"""Attributes that the configuration's base class lost come back with 4.57's values, where they are read."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest

from patcher.codemods import Applied, Class, Code, NotNeeded, Outcome, Package, Refused, config_defaults
from patcher.codemods.config_defaults import removed
from tests.codemods.configurations import CLASS, CONFIGURATIONS, KEY, NOTHING, REFUSED, Configuration
from tests.codemods.tools import assert_only_intended


def named(some: list[Configuration]) -> pytest.MarkDecorator:
    """One test for each configuration, named after it."""
    return pytest.mark.parametrize("one", some, ids=[one.name for one in some])


def outcomes(files: dict[str, str]) -> dict[str, Outcome]:
    """What the codemod makes of a model's files."""
    config: dict[str, Any] = json.loads(files[KEY])
    codes = {path: Code(path, text.encode(), config) for path, text in files.items() if path.endswith(".py")}
    package = Package(codes, config, files[KEY].encode())
    own = package.top_level(codes[CLASS], "XConfig")
    assert isinstance(own, Class)
    return dict(config_defaults(package, own))


@named([one for one in CONFIGURATIONS if one.where in (KEY, CLASS)])
def test_the_value_of_4_is_written_where_5_reads_it(one: Configuration) -> None:
    before = one.files()
    found = outcomes(before)
    after = dict(before)
    for path, outcome in found.items():
        assert isinstance(outcome, Applied), outcome
        after[path] = outcome.code.decode()
        if path != KEY:
            assert_only_intended(before[path], after[path], outcome.spans, path)
    assert one.where in found
    config = json.loads(after[KEY])
    written = {name for name in config if name not in json.loads(before[KEY]) or config[name] != one.json.get(name)}
    body = next(node for node in ast.parse(after[CLASS]).body if isinstance(node, ast.ClassDef)).body
    declared = {ast.unparse(item.target) for item in body if isinstance(item, ast.AnnAssign)}
    assert (written - {"auto_map", "model_type", "hidden_size"}) | declared == {*one.keys}
    assert all(isinstance(again, NotNeeded) for again in outcomes(after).values()), "a second run changes something"


@named([one for one in CONFIGURATIONS if one.where == NOTHING])
def test_what_5_gives_as_well_needs_nothing(one: Configuration) -> None:
    assert all(isinstance(outcome, NotNeeded) for outcome in outcomes(one.files()).values())


@named([one for one in CONFIGURATIONS if one.where == REFUSED])
def test_what_can_not_be_written_is_refused_with_the_line(one: Configuration) -> None:
    (outcome,) = outcomes(one.files()).values()
    assert isinstance(outcome, Refused) and outcome.name == "config-attribute" and "modeling_x.py" in outcome.reason


def test_the_table_has_what_5_took_away() -> None:
    table = removed()
    assert {"is_decoder", "tie_word_embeddings", "pad_token_id", "temperature"} <= table["config"].keys()
    assert "temperature" in table["not_loaded"] and "is_decoder" not in table["not_loaded"]
    assert {"get_head_mask", "get_extended_attention_mask"} <= {*table["model"]}
