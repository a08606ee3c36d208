"""The one cap of a class is found, and every other outcome says why there is none."""

from __future__ import annotations

from patcher.codemods import Applied, NotNeeded, Refused
from tests.codemods.heads import KEY, NORBERT, head
from tests.codemods.shapes import SIGNED_CAPS
from tests.codemods.tools import IMPORTS, applied, find_and_remove, package_of, run


def test_a_class_without_a_cap_is_refused() -> None:
    outcome = run("soft_cap", head("return x"))
    assert outcome == Refused("no-cap", "Head has no soft cap")


CAP = "        return 30 * torch.sigmoid(x / 7.5)\n"


def test_a_class_without_forward() -> None:
    outcome = run("soft_cap", IMPORTS + f"class Head(Base):\n    def other(self, x):\n{CAP}")
    assert outcome == Refused(
        "no-forward", "Head has no forward method in these files, so its logits can't be followed"
    )


def test_a_cap_in_another_class_is_not_touched_but_named() -> None:
    code = head("return x") + head(NORBERT, "return x", name="Other")
    outcome = run("soft_cap", code)
    assert isinstance(outcome, Refused)
    assert f"line 6: {NORBERT}" in outcome.reason


def test_two_caps_are_refused_with_both_lines() -> None:
    outcome = run("soft_cap", head(NORBERT, "x = 15 * torch.sigmoid(x / 2)", "return x"))
    assert isinstance(outcome, Refused)
    assert "2 soft caps" in outcome.reason
    assert "line 3:" in outcome.reason and "line 4:" in outcome.reason


def test_an_already_patched_class_needs_nothing_and_still_tells_the_cap() -> None:
    outcome = run("soft_cap", applied("soft_cap", head(NORBERT, "return x")))
    assert isinstance(outcome, NotNeeded)
    assert "already patched" in outcome.reason
    assert outcome.soft_cap is not None
    assert (outcome.soft_cap.scale, outcome.soft_cap.temperature) == (30.0, 7.5)


def test_a_cap_named_by_constants_is_recognised_when_it_is_gone() -> None:
    after = applied(
        "soft_cap", "import torch\nCAP = 30\nT = 7.5\n" + head("x = CAP * torch.sigmoid(x / T)", "return x")
    )
    outcome = run("soft_cap", after)
    assert isinstance(outcome, NotNeeded) and outcome.soft_cap is not None
    assert (outcome.soft_cap.scale, outcome.soft_cap.temperature) == (30.0, 7.5)


def test_a_cap_that_config_json_switches_off_needs_nothing() -> None:
    outcome = run("soft_cap", head(*KEY, "return x"), config={"cap": None})
    assert isinstance(outcome, NotNeeded) and "config.json has no number for cap" in outcome.reason


def test_a_signed_cap_keeps_every_byte() -> None:
    for shape in SIGNED_CAPS:
        outcomes = find_and_remove(package_of(shape.package(), shape.settings()))
        assert not any(isinstance(one, Applied) for one in outcomes.values())
