"""Every path of the logits has to be the cap of a vocabulary projection, in every mode."""

from __future__ import annotations

import pytest

from patcher.codemods import Applied, Refused
from tests.codemods.shapes import IMPORTS
from tests.codemods.tools import run

CAP = "30 * torch.sigmoid(x / 7.5)"
HEAD = """\


class Head(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, self.capped, self.drop = config, True, nn.Dropout(0.1)
        self.own = nn.Parameter(torch.ones(3))
        self.decoder = nn.Linear(4, 6)

    def forward(self, h, attention_mask=None, labels=None):
        x = self.decoder(h)
        {}
"""


def outcome_of(*lines: str, top: str = "") -> Applied | Refused:
    """What becomes of a head whose forward goes on with these lines."""
    outcome = run("soft_cap", IMPORTS + top + HEAD.format("\n        ".join(lines)))
    assert isinstance(outcome, (Applied, Refused))
    return outcome


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["x = x.clamp(min=0)", f"return {CAP}"], "can't be followed"),
        (["if h.mean() > 0:", "    x = self.drop(x)", f"return {CAP}"], "can't be followed"),
        (["if self.training:", "    x = 0.0", f"return {CAP}"], "puts constants"),
        (["if self.training:", f"    x = {CAP}", "return x"], "decides whether the logits are capped"),
        (["y = x", "if labels is not None:", f"    y = {CAP}", "return y"], "decides whether the logits are capped"),
        ([f"return {CAP} if len(h) > 2 else x"], "decides whether the logits are capped"),
        ([f"y = {CAP}", "return torch.where(y > 0, y, 0.0)"], "selects logits"),
        ([f"y = {CAP}", "return y.masked_fill(labels == 1, 0.0)"], "selects logits"),
        ([f"y = {CAP}", "return torch.cat([y, torch.zeros_like(y)])"], "puts constants"),
        *(
            ([f"y = {CAP}", f"return torch.cat([y[:, :9], {late}], dim=1)"], "puts constants")
            for late in (
                "torch.full_like(y[:, 9:], 1)",
                "torch.zeros_like(y[:, -1 : len(h)])",
                "torch.zeros_like(y[:, h, :1])",
                "torch.full(h.shape, 1)",
                "torch.tensor([0, 1])",
                "torch.zeros(1, len(h) - 9)",
                "torch.zeros(y.size(0), y.size(1) - 9, 1)",
                "torch.full((y.size(0), 2), 1)",
                "torch.zeros_like(y[:, 9:, :1]).expand(-1, -1, 6)",
                "torch.zeros_like(y[:, :1]).expand(-1, len(h) - 9, -1)",
                "torch.zeros(6, 1).transpose(0, 1)",
                "y.new_zeros(1, 6).unsqueeze(0)",
            )
        ),
        *(
            (
                [
                    f"y = {CAP}",
                    *before,
                    "full = torch.zeros_like(y)",
                    f"for i in range({end}):",
                    "    full[:, i] = y[:, i]",
                    "return full",
                ],
                "puts constants",
            )
            for before, end in (([], "ROWS"), (["n = ROWS * 2"], "n"), ([], "self.config.rows"), ([], "600"))
        ),
        ([f"y = {CAP}", "return y.to(torch.uint16)"], "can't be followed"),
        ([f"y = {CAP}", "return torch.cat([y, x])"], "combines uncapped logits"),
        ([f"y = {CAP}", "y[1:] = 0.0", "return y"], "puts constants"),
        (["with open(h):", f"    x = {CAP}", "return x"], "is a context"),
        (["x = x * 0 + 1", f"return {CAP}"], "sets logits to 0"),
        (["x = x / (1.0 if self.training else 9.0)", f"return {CAP}"], "is not a value"),
        (["x = x * (2.0 if self.training else 1.0)", f"return {CAP}"], "puts constants"),
        ([f"return {CAP} if self.capped else self.own"], "is not a value"),
    ],
)
def test_a_path_that_is_not_the_cap_of_a_projection_is_refused(lines: list[str], reason: str) -> None:
    outcome = outcome_of(*lines, top="ROWS = 600\n")
    assert isinstance(outcome, Refused) and outcome.name == "not-understood", outcome
    assert f" {reason}" in outcome.reason and "line " in outcome.reason


@pytest.mark.parametrize(
    "lines",
    [
        ["x = x * self.own + h.mean()", f"return {CAP}"],
        ["x = x / self.own", f"return {CAP}"],
        ["if self.training:", "    x = x.float()", f"return {CAP}"],
        ["if self.training:", "    x = self.decoder(h * 2)", f"return {CAP}"],
        ["if self.capped:", f"    x = {CAP}", "if labels is not None:", "    return (x,)", "return x"],
        ["if self.config.capped and not self.config.raw:", f"    x = {CAP}", "return x"],
        [f"y = {CAP}", "return torch.cat([y.new_zeros(1, 6), y])"],
        [
            f"y = {CAP}",
            "row = torch.zeros(y.size(0), 1)",
            "row[:, 0] = 1.0",
            "return torch.cat([row, y[:, :-1]], dim=1)",
        ],
        *(
            [f"y = {CAP}", f"return torch.cat([{row}, y[:, :-1]], dim={dim})"]
            for row, dim in (
                ("torch.zeros_like(y[:, :1])", "1"),
                ("torch.zeros_like(y[:, -1:]).float()", "-2"),
                ("torch.zeros_like(y[..., :1, :])", "-2"),
                ("torch.zeros_like(y[:, 0])[:, None]", "1"),
                ("torch.full((len(y), 1, 6), 0.5)", "1"),
                ("y.new_zeros(1, 1, 6).expand(len(y), -1, -1)", "1"),
                ("torch.zeros(6).view(1, 1, -1).expand(len(y), 1, 6)", "1"),
                ("torch.zeros(len(y), 6).unsqueeze(1)", "1"),
            )
        ),
        [
            f"y = {CAP}",
            "n = y.shape",
            "full = torch.zeros_like(y)",
            "for i in range(len(h)):",
            "    full[i] = y[i]",
            "return full",
        ],
        [f"y = {CAP}", "output = (y, *([h] if labels is None else []))", "return output"],
        [f"y = {CAP}", "return torch.where(attention_mask[:, None] == 0, 0.0, y)"],
        [f"y = {CAP}", "hidden = attention_mask.bool().unsqueeze(-1)", "return y.masked_fill(~hidden, 0.0)"],
        [f"y = {CAP}", "return F.pad(y, (0, 0, 1, 0))[:-1]"],
    ],
)
def test_a_path_that_is_the_cap_of_a_projection_is_accepted(lines: list[str]) -> None:
    assert isinstance(outcome_of(*lines), Applied)


def test_a_cap_that_only_a_variable_of_the_environment_switches_on_is_refused() -> None:
    outcome = outcome_of("if RAW:", "    return x", f"return {CAP}", top="import os\nRAW = os.environ.get('RAW')\n")
    assert isinstance(outcome, Refused) and "line 18: if RAW: decides" in outcome.reason
