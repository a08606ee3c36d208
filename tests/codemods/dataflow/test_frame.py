"""A name stands for a number only where no other one is possible."""

from __future__ import annotations

import pytest

from patcher.codemods import Applied, Refused
from tests.codemods.heads import head
from tests.codemods.tools import run


@pytest.mark.parametrize(
    "code",
    [
        head("if x is None:", "    CAP = 99", "x = CAP * torch.sigmoid(x / 7.5)", "return x"),
        head("x = CAP * torch.sigmoid(x / 7.5)", "return x").replace("(self, x)", "(self, x, CAP)"),
        head("x = CAP * torch.sigmoid(x)", "return x") + "    def f(self):\n        global CAP\n        CAP = 1\n",
        "CAP = 31\n" + head("x = CAP * torch.sigmoid(x / 7.5)", "return x"),
        head("x = self.CAP * torch.sigmoid(x / 7.5)", "return x") + "    CAP = 1\n    CAP = 2\n",
        head("x = self.CAP * torch.sigmoid(x / 7.5)", "return x") + "    def f(self):\n        self.CAP = 1\n",
    ],
)
def test_a_constant_that_may_be_another_number_is_not_understood(code: str) -> None:
    outcome = run("soft_cap", "import torch\nCAP = 30\n" + code)
    assert isinstance(outcome, Refused) and outcome.name == "scale-unknown"


def test_a_constant_of_another_function_does_not_hide_that_of_the_file() -> None:
    hidden = "    def other(self, CAP):\n        CAP = 99\n"
    code = "import torch\nCAP = 30\n" + head("x = CAP * torch.sigmoid(x / 7.5)", "return x") + hidden
    assert isinstance(run("soft_cap", code), Applied)


def test_a_constant_that_is_bound_a_second_time_among_others_is_not_understood() -> None:
    code = "import torch\nCAP = 30\nCAP, OTHER = 40, 1\n" + head("x = CAP * torch.sigmoid(x / 7.5)", "return x")
    outcome = run("soft_cap", code)
    assert isinstance(outcome, Refused) and outcome.name == "scale-unknown"
