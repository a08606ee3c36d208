"""A function that other code calls as well keeps its cap, under whatever name it is called."""

from __future__ import annotations

import pytest

from patcher.codemods import Applied, FoundCap, Refused, Target, find_cap
from patcher.codemods.soft_cap.dependents import other_callers
from tests.codemods.shapes import IMPORTS
from tests.codemods.tools import HOME, package_of, run

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


def test_only_calls_by_a_name_of_the_changed_function_are_resolved() -> None:
    layers = "".join(
        f"class Layer{n}(nn.Module):\n    def forward(self, x):\n        y = self.inner(x)\n"
        f"        z = self.squeeze(self.expand(y))\n        return self.outer(z).relu()\n"
        for n in range(40)
    )
    cap = "def squash(x):\n    return 30 * torch.sigmoid(x / 7.5)\n"
    head = "class Head(nn.Module):\n    def __init__(self):\n        self.decoder = nn.Linear(4, 6)\n"
    code = f"{IMPORTS}{cap}{layers}{head}    def forward(self, x):\n        return squash(self.decoder(x))\n"
    package = package_of({HOME: code})
    found = find_cap(package, Target("Head", HOME))
    assert isinstance(found, FoundCap)
    before = package.work.done
    assert not list(other_callers(package, [found.cap], [found.flow]))
    assert package.work.done - before < 40
