"""Whatever may run in the place of the code on a path, or beside it, is found."""

from __future__ import annotations

import pytest

from patcher.codemods.dataflow.flow import Flow
from patcher.codemods.dataflow.replaced import replaced_code
from tests.codemods.dataflow.functions import method_frame
from tests.codemods.tools import HOME, package_of

CODE = """\
import torch
from torch import nn
from transformers.utils import auto_docstring
{top}
class Head({bases}):
    def __init__(self):
        self.squash = Squash()
        {init}
    {decorator}
    def forward(self, x):
        return self.squash(x)
    {member}
class Squash(nn.Module):
    def forward(self, x):
        return 30 * torch.sigmoid(x / 7.5)
{bottom}
"""
PLACES = {"top": "", "bases": "nn.Module", "init": "pass", "decorator": "", "member": "", "bottom": ""}


def reasons(**places: str) -> list[str]:
    """Why the code of Head.forward, with other code in some places, may not be what runs."""
    package = package_of({HOME: CODE.format(**{**PLACES, **places})})
    return [one.reason for one in replaced_code(Flow(method_frame(package, "Head", "forward")))]


@pytest.mark.parametrize(
    "places",
    [
        {"decorator": "@clipped"},
        {"decorator": "@nn.clipped"},
        {"top": "@clipped"},
        {"top": "from clipping import Base", "bases": "Base"},
        {"bases": "nn.Module, metaclass=type"},
        {"member": "def __call__(self, x): ..."},
        {"member": "def train(self, mode=True): ..."},
        {"member": "forward = torch.compile(forward)"},
        {"member": "if torch: forward = None"},
        {"member": "for _ in (): \n        def forward(self): ..."},
        {"init": "self.register_forward_hook(print)"},
        {"init": "self.squash.forward = torch.relu"},
        {"init": "setattr(self.squash, 'forward', torch.relu)"},
        {"init": "self.__dict__['forward'] = torch.relu"},
        {"init": "vars(self)['forward'] = torch.relu"},
        {"init": "self.__dict__.update(forward=torch.relu)"},
        {"init": "self.__class__ = Other"},
        {"bottom": "Head.forward = torch.relu"},
        {"bottom": "del Squash.forward"},
        {"bottom": "torch.sigmoid = torch.relu"},
        {"bottom": "nn.Module.__call__ = print"},
        {"bottom": "Squash = wrap(Squash)"},
        {"bottom": "class Mode(torch.overrides.TorchFunctionMode): ..."},
        {"bottom": "torch.nn.modules.module.register_module_forward_hook(print)"},
    ],
)
def test_what_may_replace_a_function_is_found(places: dict[str, str]) -> None:
    assert reasons(**places)


@pytest.mark.parametrize(
    "places",
    [
        {},
        {"decorator": "@torch.no_grad()"},
        {"decorator": "@auto_docstring(checkpoint='a')"},
        {"member": "def other(self): self.own = 1"},
        {"member": "scale: float = 30.0"},
        {"init": "self.config = 1; self.forwarded = 2"},
        {"bottom": "torch.backends.cuda.matmul.allow_tf32 = True"},
        {"bottom": "class Other(nn.Module):\n    def train(self, mode=True): ..."},
        {"bottom": "# Head.forward = torch.relu"},
        {"bottom": "NAMES = {'forward': 1}; NAMES['forward'] = 2"},
    ],
)
def test_what_replaces_nothing_is_left_alone(places: dict[str, str]) -> None:
    assert reasons(**places) == []
