"""Options are values: they survive their record, and an unknown codemod is refused."""

from __future__ import annotations

import json

import pytest

from patcher.codec import Unreadable, from_json, to_json
from patcher.codemods import CODEMODS
from patcher.constants import REPAIRS
from patcher.planning.options import NAMES, Options


def test_every_codemod_has_its_name_here() -> None:
    assert {*CODEMODS, *REPAIRS} < {*NAMES}


def test_options_survive_their_record_and_old_records_are_read() -> None:
    options = Options.choose(["repairs", "config_defaults"], checkpointing=True)
    assert from_json(Options, json.loads(json.dumps(to_json(options)))) == options
    old = {"also_causal_lm": True, "checkpointing": False}
    assert from_json(Options, old) == from_json(Options, {**old, "also_signed": True}) == Options(also_causal_lm=True)
    with pytest.raises(Unreadable, match="frobnicate"):
        from_json(Options, {"codemods": ["frobnicate"]})
