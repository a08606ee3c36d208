"""Every shape of docs/recognised.md: a cap is recognised with its formula, what only looks like one is not."""

from __future__ import annotations

import pytest

from patcher.codemods import Applied, Refused
from tests.codemods.heads import NORBERT, head
from tests.codemods.shapes import ACCEPTED, BESIDE, REFUSED, Shape
from tests.codemods.tools import IMPORTS, applied, find_and_remove, named, package_of, patched, run


@named(ACCEPTED)
def test_the_cap_goes_and_its_formula_is_recorded(shape: Shape) -> None:
    _, _, record = patched(shape)
    assert record.kind == shape.kind
    assert (record.scale, record.temperature) == pytest.approx((30, 8), rel=1e-9)


@named(BESIDE)
def test_the_cap_goes_and_what_only_looks_like_one_stays(shape: Shape) -> None:
    before, after, record = patched(shape)
    assert (record.scale, record.temperature) == (30, 8)
    stays = [line.strip() for line in after["modeling.py"].splitlines()]
    assert stays.count(shape.quoted) == [line.strip() for line in before["modeling.py"].splitlines()].count(
        shape.quoted
    )


@named(REFUSED)
def test_what_is_not_understood_is_refused_by_name_with_its_lines(shape: Shape) -> None:
    outcome = find_and_remove(package_of(shape.package(), shape.settings()))
    assert isinstance(outcome, Refused), outcome
    assert outcome.name == shape.refused, outcome
    assert shape.quoted in outcome.reason


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("x = torch.sigmoid(x / 7.5)", "no-scale"),  # a probability
        ("x = scale * torch.sigmoid(x / 7.5)", "scale-unknown"),
        ("x = 30 * torch.sigmoid(x / temperature)", "temperature-unknown"),
        ("x = 30 * torch.sigmoid(x / (7.5 * x.size(-1) ** 0.5))", "temperature-unknown"),
        ("x = 30 + torch.sigmoid(x / 7.5)", "no-scale"),
        ("x = -30 * torch.sigmoid(x / 7.5)", "decreasing"),
        ("x = 30 * torch.sigmoid(x / -7.5)", "decreasing"),
        ("x = 0 * torch.sigmoid(x / 7.5)", "decreasing"),
        ("x = 30 * torch.sigmoid(x / 7.5, out=x)", "not-understood"),
        ("x = x * torch.sigmoid(x)", "scale-unknown"),  # SiLU, written out
        ("x = 30 * torch.sigmoid(x / 7.5) - 14", "offset"),
        ("x = 30 * torch.sigmoid(x / 7.5) * x.mean()", "scale-unknown"),
    ],
)
def test_a_bounded_map_that_is_no_cap_is_refused_by_name_with_its_line(statement: str, name: str) -> None:
    outcome = run("soft_cap", head(statement, "return x"))
    assert isinstance(outcome, Refused) and outcome.name == name, outcome
    assert f"line 3: {statement}" in outcome.reason


def test_a_sigmoid_that_is_not_on_the_path_of_the_logits_is_left_alone() -> None:
    code = head(NORBERT, "gate = torch.sigmoid(x)", "return x")
    assert applied("soft_cap", code).count("gate = torch.sigmoid(x)\n") == 1


@pytest.mark.parametrize(
    ("expression", "scale", "temperature"),
    [
        ("30 * torch.sigmoid(x / 7.5)", 30, 7.5),
        ("torch.sigmoid(x / 7.5) * 30", 30, 7.5),
        ("30 * F.sigmoid(x / 7.5)", 30, 7.5),
        ("30 * sigmoid(input=x / 7.5)", 30, 7.5),
        ("30 * (x / 7.5).sigmoid()", 30, 7.5),
        ("30 * torch.sigmoid(x * 0.125)", 30, 8),
        ("30 * torch.sigmoid(0.125 * x)", 30, 8),
        ("30 * torch.sigmoid(x)", 30, 1),
        ("(30) * torch.sigmoid((x) / 7.5)", 30, 7.5),
        ("CAP * torch.sigmoid(x / TEMPERATURE)", 20, 5),
    ],
)
def test_scale_and_temperature_are_read_from_the_code(expression: str, scale: float, temperature: float) -> None:
    constants = IMPORTS + "from torch import sigmoid\nCAP = 20\nTEMPERATURE = 5.0\n"
    outcome = run("soft_cap", constants + head(f"y = {expression}", "return y"))
    assert isinstance(outcome, Applied) and outcome.soft_cap is not None
    assert (outcome.soft_cap.scale, outcome.soft_cap.temperature) == (scale, temperature)
    assert outcome.soft_cap.line == 9
