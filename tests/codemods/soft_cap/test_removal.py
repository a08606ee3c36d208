"""A cap goes from each head that is named, and from none that another class of the model needs."""

from __future__ import annotations

from patcher.codemods import Refused, Target
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
