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
def harmless(t):
    return t.sum()
def deep(t):
    return inner(t[0])
def inner(t):
    t.relu_()
def stars(*t): ...
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
    ],
)
def test_a_statement_that_may_change_the_logits_is_found(lines: list[str]) -> None:
    assert changes(*lines)[-1] is not None and source_of(lines) in changes(*lines)


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
    ],
)
def test_what_reads_the_logits_or_is_on_their_path_is_no_change(lines: list[str]) -> None:
    assert changes(*lines) == []
