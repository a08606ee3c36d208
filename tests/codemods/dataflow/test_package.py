"""Names of one file lead to definitions in another, and attributes to the expression that sets them."""

from __future__ import annotations

import pytest

from patcher.codemods import Refused
from tests.codemods.tools import run


@pytest.mark.parametrize("statement", ["self.scale, self.act = get()", "self.act += get()"])
def test_an_attribute_that_no_single_expression_sets_is_not_understood(statement: str) -> None:
    code = f"import torch\nclass Head(Model):\n    def __init__(self, config):\n        {statement}\n"
    code += "    def forward(self, x):\n        return self.act(30 * torch.sigmoid(x / 7.5))\n"
    assert isinstance(run("soft_cap", code), Refused)
