"""One run of the codemods gives the patched code, the code of the base model, and the cap."""

from __future__ import annotations

import json
import math
import re
from difflib import SequenceMatcher
from functools import cache
from typing import Any

import pytest

from patcher.codec import Unreadable, from_json, to_json
from patcher.errors import CodeError, UsageError
from patcher.planning.options import Options
from patcher.planning.plan import make_plan
from patcher.planning.rewriting import Rewritten, rewrite_code
from patcher.source.snapshot import resolve
from tests.conftest import MINI
from tests.verify.heads import HEADS, MODES, NOT_FOLLOWED, Head

CODE = "modeling_gptbert.py"
CAP = b"subword_prediction = 30 * torch.sigmoid(subword_prediction / 7.5)\n"


@cache
def rewritten(**options: Any) -> Rewritten:
    """The miniature's code after the codemods; not to be changed."""
    modules = {path.name: path.read_bytes() for path in MINI.glob("*.py")}
    content = (MINI / "config.json").read_bytes()
    return rewrite_code(modules, json.loads(content), Options(**options), content)


@pytest.mark.parametrize("options", [{}, {"also_causal_lm": True}, {"shift": 1.25}, {"threshold": 0.05}])
def test_the_base_has_the_repairs_and_each_cap_whatever_is_removed(options: dict[str, Any]) -> None:
    base = rewritten(**options).base
    assert base[CODE].count(CAP) == (MINI / CODE).read_bytes().count(CAP) == 2
    assert b"(ComputedBuffersMixin, PreTrainedModel)" in base[CODE] and b"_tied_weights_keys = None" in base[CODE]
    assert b"SPLADE_LOGIT_SHIFT" not in base[CODE] and b"SPLADE" not in base["config.json"].upper()


def test_the_patched_code_is_the_base_without_the_cap() -> None:
    done = rewritten()
    lines = {name: code[CODE].splitlines() for name, code in (("base", done.base), ("patched", done.contents))}
    changed = [pair for pair in zip(lines["base"], lines["patched"], strict=True) if pair[0] != pair[1]]
    assert len(changed) == 1 and changed[0][0].strip() + b"\n" == CAP and b"splade-patcher: removed" in changed[0][1]


def test_a_threshold_is_a_constant_behind_the_cap_and_in_the_configuration() -> None:
    done = rewritten(threshold=0.05)
    constant = math.expm1(0.05)
    assert done.soft_cap is not None and done.soft_cap.kept and done.soft_cap.shift == constant
    assert done.soft_cap.threshold == pytest.approx(0.05) and done.kept_cap is None
    assert f"SPLADE_LOGIT_SHIFT = {constant!r}  #".encode() in done.contents[CODE]
    assert json.loads(done.contents["config.json"])["splade_logit_shift"] == constant


@pytest.mark.parametrize(
    "options", [{"threshold": 0.0}, {"threshold": math.nan}, {"threshold": 0.1, "trained_without_cap": True}]
)
def test_a_threshold_that_is_none_or_has_no_cap_to_be_behind_is_wrong_usage(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="threshold"):
        Options(**options)
    with pytest.raises(UsageError, match="lowers the capped logits"):
        Options.choose(["repairs"], threshold=0.1)


def test_a_cap_that_is_not_to_be_removed_is_told_and_is_in_the_base_and_in_the_result() -> None:
    done = rewritten(codemods=("config_defaults",))
    assert done.soft_cap is None and done.base == done.contents
    assert done.kept_cap is not None and (done.kept_cap.scale, done.kept_cap.temperature) == (30, 7.5)
    assert rewritten().kept_cap is None


def test_the_plan_holds_the_files_of_the_base_that_are_not_those_of_the_source() -> None:
    names = (CODE, "configuration_gptbert.py", "config.json")
    assert make_plan(resolve(str(MINI))).base == {name: rewritten().base[name] for name in names}


def test_options_become_json_and_back_and_those_of_version_0_1_0_are_read() -> None:
    options = Options.choose(["repairs", "config_defaults"], checkpointing=True)
    assert from_json(Options, json.loads(json.dumps(to_json(options)))) == options
    old = {"also_causal_lm": True, "checkpointing": False, "also_signed": False, "codemods": [], "shift": 0.0}
    assert from_json(Options, old) == Options(also_causal_lm=True)
    former = from_json(Options, {**old, "codemods": ["is_decoder"]})
    assert former.names == ("config_defaults",), "a record of 0.1.0 names the repair that this one took the place of"
    with pytest.raises(Unreadable, match="codemods"):
        from_json(Options, {"codemods": "repairs"})


def plan_of(head: Head) -> Rewritten:
    """The miniature's code with another head after the codemods. Raises CodeError where that is refused."""
    modules = {path.name: path.read_bytes() for path in MINI.glob("*.py")} | {CODE: head.code().encode()}
    return rewrite_code(modules, json.loads((MINI / "config.json").read_text("utf-8")))


def named(heads: list[Head]) -> pytest.MarkDecorator:
    """One test for each head, named after its mode and what it does."""
    names = [f"{head.mode}: {head.name}" for head in heads]
    assert len(names) == len(set(names))
    return pytest.mark.parametrize("head", heads, ids=names)


# The refusal quotes the statement of the cap, or the call of the layer, which another line has changed.
QUOTED_WHERE_IT_IS_USED = {
    *(
        "times the mode",
        "a gradient of its own",
        "the last layer replaced",
        "the head replaced",
        "forward a second time",
    ),
}

# What is known of the others is less than what is known of these caps.
NAMES = {"times the mode": "scale-unknown", "a gradient of its own": "offset", "forward a second time": "shared"}


@named([head for head in HEADS if not head.sound and not head.dynamic])
def test_a_head_that_differs_in_one_mode_is_refused_with_its_line(head: Head) -> None:
    with pytest.raises(CodeError) as refused:
        plan_of(head)
    matcher = SequenceMatcher(None, Head("", "").code().split("\n"), head.code().split("\n"), autojunk=False)
    added = {
        line + 1 for kind, _, _, first, end in matcher.get_opcodes() if kind != "equal" for line in range(first, end)
    }
    shown = {int(line) for line in re.findall(r"line (\d+)", refused.value.message)}
    assert added & shown or head.name in QUOTED_WHERE_IT_IS_USED, refused.value.message
    assert f"[{NAMES.get(head.name, 'not-understood')}]" in refused.value.message


@named([head for head in HEADS if head.dynamic])
def test_a_head_whose_gradients_or_loss_alone_are_wrong_is_left_to_the_verification(head: Head) -> None:
    assert plan_of(head).soft_cap is not None


@named([head for head in HEADS if head.sound])
def test_a_head_that_differs_in_no_mode_loses_its_cap_and_nothing_else(head: Head) -> None:
    if head.name in NOT_FOLLOWED:
        with pytest.raises(CodeError, match=r"can't be followed beyond line \d+: .*squash\("):
            plan_of(head)
        return
    done = plan_of(head)
    assert done.soft_cap is not None and (done.soft_cap.scale, done.soft_cap.temperature) == (30, 7.5)
    edits = [edit for result in done.results if result.name == "soft_cap" for edit in result.edits]
    assert edits and all("sigmoid" in edit.before or "squash(" in edit.before for edit in edits)


def test_the_set_has_heads_of_every_mode() -> None:
    assert {head.mode for head in HEADS} == set(MODES)
    assert all(sum(head.mode == mode and not head.sound for head in HEADS) >= 6 for mode in MODES)
    assert sum(head.dynamic for head in HEADS) <= 6


@pytest.mark.parametrize("names", [60, 3000])
def test_values_that_are_made_from_one_another_are_followed_in_steps_that_do_not_double(names: int) -> None:
    """Each name is used twice for the next one. More of them than Python's stack is deep are refused by name."""
    made = "".join(f"        a{number + 1} = a{number} + a{number}\n" for number in range(names))
    start = "\n\nclass Long(nn.Module):\n    def __init__(self):\n        a0 = torch.arange(3)\n"
    modules = {path.name: path.read_bytes() for path in MINI.glob("*.py")}
    modules[CODE] += f"{start}{made}        self.table = a{names}\n".encode()
    content = (MINI / "config.json").read_bytes()
    options = Options(codemods=("computed_buffers",))
    if names < 1000:
        assert rewrite_code(modules, json.loads(content), options, content).results
    else:
        with pytest.raises(CodeError, match="too-complex"):
            rewrite_code(modules, json.loads(content), options, content)
