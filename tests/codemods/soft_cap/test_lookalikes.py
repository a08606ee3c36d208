"""Nobody is told that logits may be raw where a line that they may run through reads like a cap."""

from __future__ import annotations

import pytest

from patcher.codemods import Refused
from tests.codemods.shapes import Shape
from tests.codemods.tools import find_and_remove, package_of

GATE = "class Gate(nn.Module):\n    def forward(self, h):\n        return h * torch.sigmoid(h)\n"


FUNCTION = "class Cap(torch.autograd.Function):\n    def forward(c, x):\n        return 30 * torch.tanh(x)\n"
PARTIAL = "cap = functools.partial(bound, by=30) if labels else nn.Identity()\n"


def refusal(body: str, **more: str) -> Refused:
    outcome = find_and_remove(package_of(Shape("", "", body=body, **more).package()))  # type: ignore[arg-type]
    assert isinstance(outcome, Refused), outcome
    return outcome


@pytest.mark.parametrize(
    ("body", "more", "quoted"),
    [
        ("return cap(x)", {"top": "from . import gone\ncap = gone.soft_cap\n"}, "cap = gone.soft_cap"),
        ("return x.clamp(-30, 30)", {}, "return x.clamp(-30, 30)"),
        ("y = F.hardtanh(x / 30)\nreturn 30 * y", {}, "y = F.hardtanh(x / 30)"),
        ("return x * torch.rsqrt(1 + (x / 30) ** 2)", {}, "return x * torch.rsqrt(1 + (x / 30) ** 2)"),
        (
            "loss = F.cross_entropy(15 * x * torch.rsqrt(x.square() + 225), labels)\nreturn loss",
            {},
            "loss = F.cross_entropy(15 * x * torch.rsqrt(x.square() + 225), labels)",
        ),
        ("return 30 * F.normalize(x, dim=-1)", {}, "return 30 * F.normalize(x, dim=-1)"),
        ("return Cap.apply(x)", {"top": FUNCTION}, "30 * torch.tanh(x)"),
        (
            PARTIAL + "return [cap(y) for y in x.split(2)]",
            {"top": "import functools\ndef bound(t, by):\n    return torch.tanh(t / by) * by\n"},
            "return torch.tanh(t / by) * by",
        ),
        ("y = x\nloss = torch.tanh(y / 30).mean()\nreturn Output(y, loss)", {}, "loss = torch.tanh(y / 30).mean()"),
    ],
)
def test_a_line_that_reads_like_a_cap_is_quoted(body: str, more: dict[str, str], quoted: str) -> None:
    found = refusal(body, **more)
    assert found.name == "not-understood" and "these lines look like one" in found.reason
    assert quoted in found.reason.partition("these lines look like one")[2]


@pytest.mark.parametrize(
    ("more", "quoted"),
    [
        ({"init": "self.decoder.register_forward_hook(bound)"}, "self.decoder.register_forward_hook(bound)"),
        ({"members": "    def __call__(self, h):\n        return bound(self.forward(h))\n"}, "def __call__"),
        ({"top": "def arm():\n    Head.forward = bound(Head.forward)\n"}, "Head.forward = bound(Head.forward)"),
    ],
)
def test_code_that_may_bound_what_the_head_returns_is_quoted(more: dict[str, str], quoted: str) -> None:
    found = refusal("return x", **more)
    assert found.name == "not-understood" and quoted in found.reason, found


@pytest.mark.parametrize(
    ("body", "more"),
    [
        ("return x", {}),
        ("h = 2 * torch.sigmoid(h / 3) * h\nreturn self.decoder(h)", {}),
        ("return self.decoder(self.gate(h))", {"init": "self.gate = Gate()", "top": GATE}),
        ("return self.drop(x)", {"init": "self.drop = nn.Dropout(0.1)\nself.gate = Gate()", "top": GATE}),
        ("return self.decoder(torch.tanh(h))", {}),
        ("return self.decoder(h * torch.rsqrt(h.square().mean(-1, keepdim=True)))", {}),
    ],
)
def test_a_gate_that_the_logits_do_not_run_through_reads_like_none(body: str, more: dict[str, str]) -> None:
    assert refusal(body, **more).name == "no-cap"


def test_lines_that_name_the_logits_come_first() -> None:
    gates = "".join(f"g{n} = torch.sigmoid(h)\n" for n in range(6))
    found = refusal(gates + "logits = 30 * torch.erf(x / 8)\nreturn logits.lost()")
    assert "these lines look like one: line 28: logits = 30 * torch.erf(x / 8)" in found.reason
