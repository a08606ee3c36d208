"""A function that other code calls as well keeps its cap, under whatever name it is called."""

from __future__ import annotations

import pytest

from patcher.codemods import Applied, Refused
from tests.codemods.tools import run

CAPPED_HEAD = """\
import torch
def project(h):
    return 30 * torch.sigmoid(decoder(h) / 7.5)
class Head(Model):
    def forward(self, x):
        return project(x)
"""
OTHER_CALLERS = {
    "by name": "def other(h):\n    return project(h)\n",
    "an alias of the file": "squash = project\ndef other(h):\n    return squash(h)\n",
    "an alias of an alias": "a = project\nb: Any = a\ndef other(h):\n    return b(h)\n",
    "an alias in the function": "def other(h):\n    squash, n = project, 1\n    return squash(h)\n",
    "an assignment expression": "def other(h):\n    (squash := project)\n    return squash(h)\n",
    "an attribute of a class": (
        "class Other:\n    squash = project\n    def f(self, h):\n        return self.squash(h)\n"
    ),
    "an attribute of a base class": (
        "class Base:\n    def __init__(self):\n        self.squash = project\n"
        "class Other(Base):\n    def f(self, h):\n        return self.squash(h)\n"
    ),
    "an import in the function": "def other(h):\n    from .modeling import project as squash\n    return squash(h)\n",
}


@pytest.mark.parametrize("name", OTHER_CALLERS)
def test_a_function_that_is_also_called_under_another_name_keeps_its_cap(name: str) -> None:
    assert isinstance(run("soft_cap", CAPPED_HEAD), Applied)
    outcome = run("soft_cap", CAPPED_HEAD + OTHER_CALLERS[name])
    assert isinstance(outcome, Refused) and outcome.name == "used-elsewhere", outcome


def test_a_head_of_which_a_subclass_is_called_elsewhere_keeps_its_cap() -> None:
    code = CAPPED_HEAD.replace("def project(h)", "class Project(nn.Module):\n  def forward(self, h)")
    code = code.replace("project(x)", "Project()(x)")
    assert isinstance(run("soft_cap", code), Applied)
    outcome = run(
        "soft_cap", code + "class Sub(Project):\n    pass\ndef other(h):\n    head = Sub()\n    return head(h)\n"
    )
    assert isinstance(outcome, Refused) and outcome.name == "used-elsewhere", outcome
