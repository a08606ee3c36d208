"""One run of the codemods gives the patched code, the code of the base model, and the cap."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from patcher.codec import Unreadable, from_json, to_json
from patcher.planning.plan import make_plan
from patcher.planning.rewriting import Options, Rewritten, rewrite_code
from patcher.source.snapshot import resolve
from tests.conftest import MINI

CODE = "modeling_gptbert.py"
CAP = b"subword_prediction = 30 * torch.sigmoid(subword_prediction / 7.5)\n"


@cache
def rewritten(**options: Any) -> Rewritten:
    """The miniature's code after the codemods; not to be changed."""
    modules = {path.name: path.read_bytes() for path in MINI.glob("*.py")}
    content = (MINI / "config.json").read_bytes()
    return rewrite_code(modules, json.loads(content), Options(**options), content)


@pytest.mark.parametrize("options", [{}, {"also_causal_lm": True}, {"shift": 1.25}])
def test_the_base_has_the_repairs_and_each_cap_whatever_is_removed(options: dict[str, Any]) -> None:
    base = rewritten(**options).base
    assert base[CODE].count(CAP) == (MINI / CODE).read_bytes().count(CAP) == 2
    assert b"_init_arguments" in base[CODE] and b"_tied_weights_keys = None" in base[CODE]
    assert b"SPLADE_LOGIT_SHIFT" not in base[CODE] and "config.json" not in base


def test_the_patched_code_is_the_base_without_the_cap() -> None:
    done = rewritten()
    lines = {name: code[CODE].splitlines() for name, code in (("base", done.base), ("patched", done.contents))}
    changed = [pair for pair in zip(lines["base"], lines["patched"], strict=True) if pair[0] != pair[1]]
    assert len(changed) == 1 and changed[0][0].strip() + b"\n" == CAP and b"splade-patcher: removed" in changed[0][1]


def test_a_cap_that_is_not_to_be_removed_is_told_and_is_in_the_base_and_in_the_result() -> None:
    done = rewritten(codemods=("is_decoder",))
    assert done.soft_cap is None and done.base == done.contents
    assert done.kept_cap is not None and (done.kept_cap.scale, done.kept_cap.temperature) == (30, 7.5)
    assert rewritten().kept_cap is None


def test_the_plan_holds_the_files_of_the_base_that_are_not_those_of_the_source() -> None:
    assert make_plan(resolve(str(MINI))).base == {CODE: rewritten().base[CODE]}


def test_options_become_json_and_back_and_those_of_version_0_1_0_are_read() -> None:
    options = Options.choose(["repairs", "is_decoder"], checkpointing=True)
    assert from_json(Options, json.loads(json.dumps(to_json(options)))) == options
    old = {"also_causal_lm": True, "checkpointing": False, "also_signed": False, "codemods": [], "shift": 0.0}
    assert from_json(Options, old) == Options(also_causal_lm=True)
    with pytest.raises(Unreadable, match="codemods"):
        from_json(Options, {"codemods": "repairs"})
