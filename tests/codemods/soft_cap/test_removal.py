"""A cap goes from each head that is named, and from none that another class of the model needs."""

from __future__ import annotations

import pytest

from patcher.codemods import Applied, Code, Package, Refused, Target
from tests.codemods.heads import KEY, NORBERT, head
from tests.codemods.shapes import IMPORTS
from tests.codemods.tools import HOME, applied, find_and_remove, package_of

CAP = "        return 30 * torch.sigmoid(x / 7.5)\n"
CLASS = "class {}(nn.Module):\n    def forward(self, x):\n"


def test_a_cap_that_another_class_of_the_model_needs() -> None:
    code = IMPORTS + CLASS.format("Head") + CAP + "class Other(Head):\n    pass\n"
    outcome = find_and_remove(package_of({HOME: code}), others=(Target("Other", HOME),))
    assert isinstance(outcome, Refused) and outcome.name == "shared"
    assert "Head shares its soft cap with Other: line 7: return 30 * torch.sigmoid(x / 7.5)" in outcome.reason


def test_the_causal_head_goes_only_when_it_is_named() -> None:
    code = head(NORBERT, "return x") + head(NORBERT, "return x", name="Causal")
    assert applied("soft_cap", code).count(NORBERT) == 2  # one in code, one in the comment
    assert applied("soft_cap", code, ("Head", "Causal")).count("# splade-patcher") == 2


def test_a_cap_whose_number_stands_in_config_json_goes_from_the_code_and_config_json_stays() -> None:
    after = applied("soft_cap", head(*KEY, "return x"), config={"cap": 30.0})
    assert "scale 30, temperature 30" in after and "            pass\n" in after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"a": 1}', '{"a": 1,"splade_logit_shift": 1.25}'),
        ('{\n  "a": 1\n}\n', '{\n  "a": 1,\n  "splade_logit_shift": 1.25\n}\n'),
        ('{\n\t"splade_logit_shift": -3e-1,\n\t"a": 1\n}', '{\n\t"splade_logit_shift": 1.25,\n\t"a": 1\n}'),
        ("{}", '{"splade_logit_shift": 1.25}'),
    ],
)
def test_a_shift_becomes_a_key_of_config_json_and_every_other_byte_stays(before: str, after: str) -> None:
    package = Package({HOME: Code(HOME, head(NORBERT, "return x").encode(), {})}, {}, before.encode())
    outcomes = find_and_remove(package, shift=1.25)
    assert not isinstance(outcomes, Refused)
    changed = outcomes["config.json"]
    assert isinstance(changed, Applied) and changed.code.decode() == after
    assert changed.soft_cap is not None and changed.soft_cap.shift == 1.25


def test_a_shift_inside_of_another_key_stays() -> None:
    config = b'{"note": {"splade_logit_shift": 1}, "splade_logit_shift": 2}'
    package = Package({HOME: Code(HOME, head(NORBERT, "return x").encode(), {})}, {}, config)
    outcomes = find_and_remove(package, shift=1.25)
    assert not isinstance(outcomes, Refused)
    changed = outcomes["config.json"]
    assert isinstance(changed, Applied) and changed.code == config.replace(b" 2}", b" 1.25}")
