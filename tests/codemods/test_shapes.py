"""Every shape of the README's table: the cap is found with its formula, what only looks like one stays."""

from __future__ import annotations

import ast
from difflib import unified_diff

import pytest

from patcher.codemods import Applied, NotNeeded, Refused, SoftCap
from tests.codemods.shapes import ACCEPTED, BESIDE, REFUSED, Shape
from tests.codemods.tools import assert_only_intended, find_and_remove, package_of


def patched(shape: Shape) -> tuple[dict[str, str], dict[str, str], SoftCap]:
    """The files before and after, and the record; each file is proved, and a second run changes nothing."""
    before = shape.package()
    outcomes = find_and_remove(package_of(before, shape.settings()))
    assert not isinstance(outcomes, Refused), outcomes
    changed = {path: one for path, one in outcomes.items() if isinstance(one, Applied)}
    assert changed, outcomes
    after = dict(before)
    for path, outcome in changed.items():
        after[path] = outcome.code.decode()
        ast.parse(after[path], feature_version=(3, 10))
        assert_only_intended(before[path], after[path], outcome.spans, path)
    again = find_and_remove(package_of(after, shape.settings()))
    assert not isinstance(again, Refused), again
    assert all(isinstance(one, NotNeeded) for one in again.values()), again
    (record,) = {one.soft_cap for one in changed.values()}
    assert record is not None
    return before, after, record


def diff_of(shape: Shape) -> list[str]:
    """The changed lines of all files, stripped; the comment that is left behind only by its first words."""
    before, after, _ = patched(shape)
    found = []
    for path in before:
        for line in unified_diff(before[path].splitlines(), after[path].splitlines(), n=0, lineterm=""):
            if not line.startswith(("---", "+++", "@@")):
                found.append(f"{line[0]} {line[1:].strip().partition(' `')[0]}")
    return found


def named(shapes: list[Shape]) -> pytest.MarkDecorator:
    names = [" ".join(shape.name.split()) for shape in shapes]
    assert len(names) == len(set(names))
    return pytest.mark.parametrize("shape", shapes, ids=names)


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


MARK = "+ # splade-patcher: removed"
EXACTLY = {
    "a pair": ["- x, z = 30 * torch.sigmoid(x / 8), 1", MARK, "+ x, z = x, 1"],
    "an assignment to itself": ["- x = 30 * torch.sigmoid(x / 8)", MARK],
    "an annotated assignment": ["- y: Tensor = 30 * torch.sigmoid(x / 8)", MARK, "+ y: Tensor = x"],
    "one of several on a line": ["- a = 1; x = 30 * torch.sigmoid(x / 8); b = 2", MARK, "+ a = 1; b = 2"],
    "a branch of one line": ["- if self.capped: x = 30 * torch.sigmoid(x / 8)", MARK, "+ if self.capped: pass"],
    "an assignment expression inside": ["- return 30 * torch.sigmoid((y := x) / 8)", MARK, "+ return (y := x)"],
    "three names": [
        "- p = x / 8",
        "- q = torch.sigmoid(p)",
        "- r = 30 * q",
        "+ p = x",
        "+ q = p",
        MARK,
        "+ r = q",
    ],
    "augmented": ["- x /= 8", "- x = x.sigmoid()", "- x *= 30", MARK],
    "in place line by line": ["- x.div_(8)", "- x.sigmoid_()", "- x.mul_(30)", MARK],
    "float() stays": [
        "- x = (30 * torch.sigmoid(x.float() / 8)).float()",
        MARK,
        "+ x = x.float().float()",
    ],
    "a helper function of another file": ["- x = cap(x)", MARK],
    "a cap module": ["- return self.cap(x)", MARK, "+ return x"],
    "the head module": [
        "- return self.scale * torch.sigmoid(self.linear(h) / self.temperature)",
        MARK,
        "+ return self.linear(h)",
    ],
}


@named([shape for shape in ACCEPTED if shape.name in EXACTLY])
def test_these_lines_change_and_no_others(shape: Shape) -> None:
    assert diff_of(shape) == EXACTLY[shape.name]


def test_every_exact_result_is_of_a_shape_of_the_table() -> None:
    assert set(EXACTLY) <= {shape.name for shape in ACCEPTED}
