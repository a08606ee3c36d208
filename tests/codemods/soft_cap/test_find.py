"""The one cap of a class is found, and every other outcome says why there is none."""

from __future__ import annotations

import pytest

from patcher.codemods import Applied, NotNeeded, Refused
from tests.codemods.heads import KEY, NORBERT, head
from tests.codemods.shapes import SIGNED_CAPS, Shape
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


DATACLASS = "import dataclasses\n@dataclasses.dataclass\nclass Cap:\n    scale: float = 30.0\n"


@pytest.mark.parametrize(
    ("scale", "more"),
    [
        ("CAP.scale", {"top": DATACLASS + "CAP = Cap()\n"}),
        ("CAP.scale", {"top": DATACLASS.replace("= 30.0", "= dataclasses.field(default=30.0)") + "CAP = Cap()\n"}),
        ("self.cap.scale", {"top": DATACLASS, "init": "self.cap = Cap(scale=30.0)"}),
        ("CAP.scale", {"top": "from types import SimpleNamespace\nCAP = SimpleNamespace(scale=30.0)\n"}),
        ("Cap.SCALE.value", {"top": "import enum\nclass Cap(enum.Enum):\n    SCALE = 30.0\n"}),
        (
            "self.s",
            {
                "members": "    @property\n    def s(self):\n"
                "        if self.big:\n            return 30.0\n        return 20.0\n"
            },
        ),
    ],
)
def test_a_number_in_an_object_that_is_not_read_is_refused_with_its_line(scale: str, more: dict[str, str]) -> None:
    line = f"return {scale} * torch.sigmoid(x / 7.5)"
    found = find_and_remove(package_of(Shape("", "", body=line, **more).package()))  # type: ignore[arg-type]
    assert isinstance(found, Refused) and found.name == "scale-unknown" and line in found.reason


@pytest.mark.parametrize("decorator", ["property", "functools.cached_property"])
def test_a_number_that_a_property_computes_is_read(decorator: str) -> None:
    members = f"    @{decorator}\n    def s(self):\n        half = 15\n        return 2.0 * half\n"
    shape = Shape("", "", body="return self.s * torch.sigmoid(x / 7.5)", members=members, top="import functools\n")
    found = find_and_remove(package_of(shape.package()))
    assert not isinstance(found, Refused)
    assert [one.soft_cap.scale for one in found.values() if isinstance(one, Applied) and one.soft_cap] == [30]
