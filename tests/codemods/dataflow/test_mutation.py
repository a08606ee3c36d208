"""A statement that may change the logits in place is found under every name that they may have."""

from __future__ import annotations

from textwrap import indent

import pytest

from patcher.codemods.dataflow.flow import Flow
from patcher.codemods.dataflow.mutation import changed_in_place
from tests.codemods.dataflow.functions import frame_of, source

TOP = """\
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from typing import NamedTuple
STATE = {}
class Box(NamedTuple):
    values: torch.Tensor
class Eager:
    def __post_init__(self):
        self.t.relu_()
def harmless(t):
    return t.sum()
def deep(t):
    return inner(t[0])
def inner(t):
    t.relu_()
def stars(*t): ...
def named(**t):
    t["t"].relu_()
def same(t, u):
    return u, t
def fresh(t):
    return t * 2
"""


def changes(*lines: str) -> list[str | None]:
    """The statements that may change `x`, the logits, before it is returned."""
    code = (
        TOP + "def f(h, w, labels):\n    x = F.linear(h, w)\n" + indent("\n".join([*lines, "return x"]), "    ") + "\n"
    )
    return [source(one.node) for one in changed_in_place(Flow(frame_of(code)))]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "lines",
    [
        ["x.relu_()"],
        ["torch.relu_(x)"],
        ["torch.abs(x, out=x)"],
        ["F.relu(x, True, inplace=True)"],
        ["y = x", "y.zero_()"],
        ["y = x[:, 1:].view(-1)", "y *= 0"],
        ["y, z = [x, h]", "y[0].fill_(1)"],
        ["y = {'a': x}", "y['a'].relu_()"],
        ["for row in x:", "    row.relu_()"],
        ["y = [row.relu_() for row in x]"],
        ["x.data = h"],
        ["x[0] *= 2"],
        ["setattr(x, 'data', h)"],
        ["deep(x)"],
        ["stars(x)"],
        ["labels.apply(x)"],
        ["(lambda t: t.relu_())(x)"],
        ["y = x if labels else h", "y.relu_()"],
        ["np = x.detach().numpy()", "np.fill(x)"],
        ["F.relu(x, True)"],
        ["F.threshold(x, 0.0, 0.0, True)"],
        ["F.dropout(x, 0.5, True, True)"],
        ["F.leaky_relu(x, 0.1, h)"],
        ["nn.ReLU(True)(x)"],
        ["nn.Sequential(nn.Dropout(0.1, True))(x)"],
        ["x.__imul__(0)"],
        ["torch.utils.swap_tensors(x, h)"],
        ["STATE['x'] = x"],
        ["named(t=x)"],
        ["Eager(x)"],
        ["list(map(torch.relu_, x))"],
        ["sorted(x, key=lambda row: row.relu_())"],
        ["list(filter(deep, x))"],
        ["checkpoint(torch.relu_, x)"],
        ["torch.func.vmap(torch.relu_)(x)"],
        ["def tidy(t):", "    t.relu_()", "max(x, key=tidy)"],
        ["y = {i: row.relu_() for i, row in enumerate(x)}"],
        ["match x:", "    case y:", "        y.relu_()"],
        ["if (y := x) is not None:", "    y.relu_()"],
    ],
)
def test_a_statement_that_may_change_the_logits_is_found(lines: list[str]) -> None:
    assert changes(*lines)[-1] is not None and source_of(lines) in changes(*lines)


VIEWS = (
    *("x.ravel()", "torch.ravel(x)", "x.swapaxes(0, 1)", "x.as_strided(h, h)", "x.unfold(1, 1, 1)", "x.hsplit(1)[0]"),
    *("x.expand_as(h)", "torch.as_tensor(x)", "torch.asarray(x)", "torch.from_dlpack(x)", "torch.atleast_3d(x)"),
    *(
        "torch.broadcast_to(x, h)",
        "x.adjoint()",
        "x.real",
        "+x",
        "{'a': x}.get('a')",
        "next(iter(x))",
        "max([x], key=len)",
    ),
    *("F.dropout(x, 0.0, False)", "nn.Identity()(x)", "same(x, h)[1]", "Box(x).values", "[row for row in x]"),
)


@pytest.mark.parametrize("view", VIEWS)
def test_what_is_written_into_a_view_is_written_into_the_logits(view: str) -> None:
    assert changes(f"y = {view}", "y[0] = 1") == ["y[0] = 1"]


def source_of(lines: list[str]) -> str:
    """The last line, which is the one that changes them."""
    return lines[-1].strip()


@pytest.mark.parametrize(
    "lines",
    [
        ["loss = F.cross_entropy(x, labels)"],
        ["harmless(x)"],
        ["h.relu_()"],
        ["y = x * 2", "y.relu_()"],
        ["y = torch.zeros_like(x[:, :1])", "y[0] = 1"],
        ["x.relu_()", "x = F.linear(h, w)"],
        ["n = x.shape[0]", "n += 1"],
        ["def unused(t):", "    t.relu_()", "    x.relu_()"],
        ["print(x.mean(), len(x), labels.to(x.device))"],
        ["x.mul_(2)"],
        ["y = x.sum(-1, True)", "y += 1"],
        ["y = F.relu(x)", "y[0] = 1"],
        ["loss = F.cross_entropy(F.dropout(x, 0.5, True), labels)", "loss *= 2"],
        ["y = same(h, x)", "y = fresh(x)", "y[0] = 1"],
        ["y = nn.CrossEntropyLoss(labels)(x, labels.to(torch.long))", "y += 1"],
        ["y = max(x.size(0), 1)", "y += 1"],
        ["y = F.dropout(x, 0.5, labels, False)"],
        ["y = Box(x)"],
        ["y = {'x': 1}", "y['x'] = h"],
        ["y = sorted(map(len, x), key=len)"],
    ],
)
def test_what_reads_the_logits_or_is_on_their_path_is_no_change(lines: list[str]) -> None:
    assert changes(*lines) == []
