"""The lines of the cap change, one comment says what they were, and every other line stays."""

from __future__ import annotations

from difflib import unified_diff
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patcher.codemods import Applied, Refused
from patcher.codemods.soft_cap.edits import number
from tests.codemods.heads import MARK, NORBERT, head, head_file
from tests.codemods.shapes import ACCEPTED, Shape
from tests.codemods.tools import HOME, applied, check, find_and_remove, named, package_of, patched, run


def test_a_statement_that_would_assign_to_itself_goes_and_leaves_a_comment() -> None:
    check(
        "soft_cap",
        head("x = self.classifier(x)", NORBERT, "", "return x").replace("        \n", "\n"),
        head("x = self.classifier(x)", MARK.format(NORBERT), "", "return x").replace("        \n", "\n"),
    )


def test_an_expression_that_feeds_another_name_goes_and_the_assignment_stays() -> None:
    statement = "logits = 30 * torch.sigmoid(x / 7.5)"
    check("soft_cap", head(statement, "return logits"), head(MARK.format(statement), "logits = x", "return logits"))


def test_a_returned_cap_returns_what_was_inside() -> None:
    statement = "return torch.sigmoid(self.head(x) / 7.5) * 30.0"
    check("soft_cap", head(statement), head(MARK.format(statement), "return self.head(x)"))


def test_a_cap_inside_a_larger_expression_leaves_what_was_inside() -> None:
    statement = "return Output(logits=30 * torch.sigmoid(a @ b / 7.5), loss=None)"
    check("soft_cap", head(statement), head(MARK.format(statement), "return Output(logits=a @ b, loss=None)"))
    statement = "return (30 * torch.sigmoid((a + b) / 7.5))[0]"
    check("soft_cap", head(statement), head(MARK.format(statement), "return (a + b)[0]"))


def test_a_cap_over_several_lines_with_a_comment_inside_goes_whole() -> None:
    lines = ("x = 30 * torch.sigmoid(", "    x / 7.5  # the temperature", ")")
    check("soft_cap", head(*lines, "return x"), head(MARK.format(NORBERT), "return x"))


def test_a_cap_that_is_all_of_a_block_leaves_pass() -> None:
    check(
        "soft_cap",
        """\
        class Head(Model):
            def forward(self, x):
                if self.capped:
                    # keep logits small
                    x = 30 * torch.sigmoid(x / 7.5)  # as in pretraining
                return x
        """,
        f"""\
        class Head(Model):
            def forward(self, x):
                if self.capped:
                    # keep logits small
                    {MARK.format(NORBERT)}
                    pass  # as in pretraining
                return x
        """,
    )


def test_a_cap_at_the_end_of_a_block_leaves_its_comment_there() -> None:
    check(
        "soft_cap",
        """\
        class Head(Model):
            def forward(self, x):
                if self.capped:
                    x = self.scale(x)
                    x = 30 * torch.sigmoid(x / 7.5)
                return x
        """,
        f"""\
        class Head(Model):
            def forward(self, x):
                if self.capped:
                    x = self.scale(x)
                    {MARK.format(NORBERT)}
                return x
        """,
    )


def test_a_comment_inside_what_goes_goes_with_it_and_those_around_stay() -> None:
    lines = [
        "# above",
        "x = (  # opens",
        "    30  # the scale",
        "    * torch.sigmoid(x / 7.5)",
        ")  # behind",
        "return x",
    ]
    outcome = run("soft_cap", head_file(*lines))
    assert isinstance(outcome, Applied)
    assert [line.strip().partition(" `")[0] for line in outcome.code.decode().splitlines()[3:]] == [
        "# above",
        "# splade-patcher: removed",
        "return x",
    ]


COMMENT = "+ # splade-patcher: removed"
EXACTLY = {
    "a pair": ["- x, z = 30 * torch.sigmoid(x / 8), 1", COMMENT, "+ x, z = x, 1"],
    "an assignment to itself": ["- x = 30 * torch.sigmoid(x / 8)", COMMENT],
    "an annotated assignment": ["- y: Tensor = 30 * torch.sigmoid(x / 8)", COMMENT, "+ y: Tensor = x"],
    "one of several on a line": ["- a = 1; x = 30 * torch.sigmoid(x / 8); b = 2", COMMENT, "+ a = 1; b = 2"],
    "a branch of one line": ["- if self.capped: x = 30 * torch.sigmoid(x / 8)", COMMENT, "+ if self.capped: pass"],
    "an assignment expression inside": ["- return 30 * torch.sigmoid((y := x) / 8)", COMMENT, "+ return (y := x)"],
    "three names": [
        "- p = x / 8",
        "- q = torch.sigmoid(p)",
        "- r = 30 * q",
        "+ p = x",
        "+ q = p",
        COMMENT,
        "+ r = q",
    ],
    "augmented": ["- x /= 8", "- x = x.sigmoid()", "- x *= 30", COMMENT],
    "in place line by line": ["- x.div_(8)", "- x.sigmoid_()", "- x.mul_(30)", COMMENT],
    "float() stays": [
        "- x = (30 * torch.sigmoid(x.float() / 8)).float()",
        COMMENT,
        "+ x = x.float().float()",
    ],
    "a helper function of another file": ["- x = cap(x)", COMMENT],
    "a cap module": ["- return self.cap(x)", COMMENT, "+ return x"],
    "the head module": [
        "- return self.scale * torch.sigmoid(self.linear(h) / self.temperature)",
        COMMENT,
        "+ return self.linear(h)",
    ],
}


def diff_of(shape: Shape) -> list[str]:
    """The changed lines of all files, stripped; the comment that is left behind only by its first words."""
    before, after, _ = patched(shape)
    found = []
    for path in before:
        for line in unified_diff(before[path].splitlines(), after[path].splitlines(), n=0, lineterm=""):
            if not line.startswith(("---", "+++", "@@")):
                found.append(f"{line[0]} {line[1:].strip().partition(' `')[0]}")
    return found


@named([shape for shape in ACCEPTED if shape.name in EXACTLY])
def test_these_lines_change_and_no_others(shape: Shape) -> None:
    assert diff_of(shape) == EXACTLY[shape.name]


def test_every_exact_result_is_of_a_shape_of_the_table() -> None:
    assert set(EXACTLY) <= {shape.name for shape in ACCEPTED}


@settings(max_examples=60, deadline=None)
@given(
    before=st.lists(st.sampled_from(["a = 1", "# note", "", "if x is None:\n            x = 2", "b = [\n    1,\n]"])),
    after=st.lists(st.sampled_from(["c = 3", "# tail", "", "y = x  # why"])),
    newline=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
)
def test_every_other_line_stays_whatever_stands_around_the_cap(
    before: list[str], after: list[str], newline: str, last: bool
) -> None:
    lines = ["class Head(Model):", "    def forward(self, x):"]
    lines += [f"        {line}" if line else "" for line in [*before, NORBERT, *after, "return x"]]
    code = newline.join("\n".join(lines).split("\n")) + (newline if last else "")
    got = applied("soft_cap", code.encode())
    assert got.encode() == code.replace(f"        {NORBERT}", f"        {MARK.format(NORBERT)}").encode()


def test_dedent_is_not_needed_for_the_tests_to_mean_something() -> None:
    """The helper compares bytes: a changed blank must not pass."""
    with pytest.raises(AssertionError):
        check("soft_cap", head(NORBERT, "return x"), dedent(head(MARK.format(NORBERT), "return  x")))


@pytest.mark.parametrize(
    ("body", "after"),
    [
        ((NORBERT, "return x"), ["x = x - SPLADE_LOGIT_SHIFT", "return x"]),
        (("return 30 * torch.sigmoid((x + 1) / 7.5)",), ["return (x + 1) - SPLADE_LOGIT_SHIFT"]),
        (("return x.div_(7.5).sigmoid_().mul_(30)",), ["return x.sub_(SPLADE_LOGIT_SHIFT)"]),
        (("x /= 7.5", "x = x.sigmoid()", "x *= 30", "return x"), ["x -= SPLADE_LOGIT_SHIFT", "return x"]),
    ],
)
def test_a_shift_is_subtracted_where_the_cap_was(body: tuple[str, ...], after: list[str]) -> None:
    outcomes = find_and_remove(package_of({HOME: head_file(*body)}), shift=2.5)
    assert not isinstance(outcomes, Refused)
    outcome = outcomes[HOME]
    assert isinstance(outcome, Applied)
    lines = [line.strip() for line in outcome.code.decode().splitlines()[3:] if "# splade-patcher" not in line]
    assert lines == ["SPLADE_LOGIT_SHIFT = 2.5  # also in config.json", *after]


@pytest.mark.parametrize(
    ("body", "after"),
    [
        ((NORBERT, "return x"), ["x = (30 * torch.sigmoid(x / 7.5)) - SPLADE_LOGIT_SHIFT", "return x"]),
        (
            ("return x.div_(7.5).sigmoid_().mul_(30)",),
            ["return x.div_(7.5).sigmoid_().mul_(30).sub_(SPLADE_LOGIT_SHIFT)"],
        ),
        (
            ("x /= 7.5", "x = x.sigmoid()", "x *= 30", "return x"),
            ["x /= 7.5", "x = x.sigmoid()", "x *= 30; x -= SPLADE_LOGIT_SHIFT", "return x"],
        ),
    ],
)
def test_a_cap_that_stays_is_lowered_where_it_ends(body: tuple[str, ...], after: list[str]) -> None:
    found = applied("soft_cap", head_file(*body), keep=True, shift=2.5)
    lines = [line.strip() for line in found.splitlines()[3:]]
    (comment,) = (line for line in lines if line.startswith("#"))
    assert comment.startswith("# splade-patcher: lowered `") and "temperature 7.5, shift 2.5)" in comment
    rest = [line for line in lines if line not in (comment, "SPLADE_LOGIT_SHIFT = 2.5  # also in config.json")]
    assert rest == after and len(rest) == len(lines) - 2


@pytest.mark.parametrize("keep", [True, False])
def test_a_cap_with_several_ends_is_shifted_at_each_of_them_and_at_none_twice(keep: bool) -> None:
    shared = ("y = torch.sigmoid(x / 7.5)", "if self.training:", "    return 30 * y", "return y * 30")
    found = run("soft_cap", head_file(*shared), keep=keep, shift=2.5)
    assert isinstance(found, Applied) and found.code.decode().count("- SPLADE_LOGIT_SHIFT") == 2
    twice = (NORBERT, "if self.training:", "    x = x * 1.0", "return x")
    refused = run("soft_cap", head_file(*twice), keep=keep, shift=2.5)
    assert isinstance(refused, Refused) and "ends in several places" in refused.reason
    assert isinstance(run("soft_cap", head_file(*twice)), Applied), "without a constant nothing is subtracted twice"


@pytest.mark.parametrize(("value", "code"), [(30.0, "30"), (-2.0, "-2"), (1e300, "1e+300"), (0.1, "0.1")])
def test_a_whole_number_is_written_without_a_point(value: float, code: str) -> None:
    assert number(value) == code
