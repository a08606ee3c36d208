"""Configurations within a configuration have 4.57's values of the attributes that are read from them."""

from __future__ import annotations

import json
import re
from functools import reduce
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from patcher.codemods import Applied, NotNeeded, Refused
from patcher.codemods.config_defaults import removed
from tests.codemods.configurations import CLASS, KEY, NOTHING, REFUSED
from tests.codemods.configurations_nested import NESTED, VALUES, Configuration
from tests.codemods.test_config_defaults import named, outcomes
from tests.codemods.tools import assert_only_intended


def repaired(one: Configuration, folder: Path) -> Path:
    """A folder with the repaired files."""
    one.write(folder)
    for path, outcome in outcomes(one.files()).items():
        assert isinstance(outcome, (Applied, NotNeeded)), outcome
        if isinstance(outcome, Applied):
            (folder / path).write_bytes(outcome.code)
            if path != KEY:
                assert_only_intended(one.files()[path], outcome.code.decode(), outcome.spans, path)
    return folder


def values(folder: Path, one: Configuration) -> dict[str, Any]:
    """The attributes that are read, of the configuration as transformers 5 loads it."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    return {
        name: reduce(lambda found, key: getattr(found, key, "missing"), name.split("."), config) for name in one.keys
    }


@named([one for one in NESTED if one.where != REFUSED])
def test_5_gives_4_57_s_value_of_what_is_read_as_loaded_and_saved(one: Configuration, tmp_path: Path) -> None:
    folder = repaired(one, tmp_path / f"n{NESTED.index(one)}")
    expected = {name: VALUES.get(one.name, removed()["config"][name.rpartition(".")[2]]) for name in one.keys}
    assert values(folder, one) == expected
    AutoConfig.from_pretrained(folder, trust_remote_code=True).save_pretrained(folder)
    assert values(folder, one) == expected


@named([one for one in NESTED if one.where == KEY])
def test_the_section_gets_the_key_and_a_second_run_nothing(one: Configuration, tmp_path: Path) -> None:
    found = outcomes(one.files())
    assert found.keys() == {KEY}
    after = json.loads((repaired(one, tmp_path / "x") / KEY).read_bytes())
    for name in one.keys:
        assert reduce(lambda inner, key: inner.get(key, {}), name.split(".")[:-1], after).keys() >= {
            name.split(".")[-1]
        }
    again = {**one.files(), KEY: json.dumps(after)}
    assert all(isinstance(outcome, NotNeeded) for outcome in outcomes(again).values())


@named([one for one in NESTED if one.where in (CLASS, NOTHING)])
def test_config_json_stays_where_the_section_needs_no_key(one: Configuration) -> None:
    found = outcomes(one.files())
    assert found.keys() == {one.where if one.where == CLASS else KEY}
    assert all(isinstance(outcome, Applied) == (one.where == CLASS) for outcome in found.values())


@named([one for one in NESTED if one.where == REFUSED])
def test_what_no_section_can_hold_is_refused_with_the_line(one: Configuration) -> None:
    (outcome,) = outcomes(one.files()).values()
    assert isinstance(outcome, Refused) and outcome.name == "config-attribute", outcome
    place = r"(config\.text_config|BertConfig\(\))\.\w+ to .*; line (12 of modeling|16 of configuration)_x\.py reads it"
    assert re.search(place, outcome.reason)
