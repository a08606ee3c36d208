"""The cap goes by its meaning, nothing else goes with it, and what is not understood is refused with its lines."""

from __future__ import annotations

from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patcher.codemods import Applied, NotNeeded, Refused
from tests.codemods.tools import IMPORTS, applied, check, run

MARK = (
    "# splade-patcher: removed `{}` (sigmoid, scale 30, temperature 7.5); "
    "a sigmoid is never negative, so ReLU in SPLADE gave no zeros."
)
NORBERT = "x = 30 * torch.sigmoid(x / 7.5)"


def head(*body: str, name: str = "Head") -> str:
    lines = "".join(f"        {line}\n" for line in body)
    return f"class {name}(Model):\n    def forward(self, x):\n{lines}"


# What must not change


def test_a_class_without_a_cap_is_refused() -> None:
    outcome = run("soft_cap", head("return x"))
    assert outcome == Refused("no-cap", "Head has no soft cap")


def test_a_cap_in_another_class_is_not_touched_but_named() -> None:
    code = head("return x") + head(NORBERT, "return x", name="Other")
    outcome = run("soft_cap", code)
    assert isinstance(outcome, Refused)
    assert f"line 6: {NORBERT}" in outcome.reason


def test_two_caps_are_refused_with_both_lines() -> None:
    outcome = run("soft_cap", head(NORBERT, "x = 15 * torch.sigmoid(x / 2)", "return x"))
    assert isinstance(outcome, Refused)
    assert "2 soft caps" in outcome.reason
    assert "line 3:" in outcome.reason and "line 4:" in outcome.reason


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


def test_an_already_patched_class_needs_nothing_and_still_tells_the_cap() -> None:
    outcome = run("soft_cap", applied("soft_cap", head(NORBERT, "return x")))
    assert isinstance(outcome, NotNeeded)
    assert "already patched" in outcome.reason
    assert outcome.soft_cap is not None
    assert (outcome.soft_cap.scale, outcome.soft_cap.temperature) == (30.0, 7.5)


# What must change


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


def test_a_cap_named_by_constants_is_recognised_when_it_is_gone() -> None:
    after = applied(
        "soft_cap", "import torch\nCAP = 30\nT = 7.5\n" + head("x = CAP * torch.sigmoid(x / T)", "return x")
    )
    outcome = run("soft_cap", after)
    assert isinstance(outcome, NotNeeded) and outcome.soft_cap is not None
    assert (outcome.soft_cap.scale, outcome.soft_cap.temperature) == (30.0, 7.5)


@pytest.mark.parametrize(
    "code",
    [
        head("if x is None:", "    CAP = 99", "x = CAP * torch.sigmoid(x / 7.5)", "return x"),
        head("x = CAP * torch.sigmoid(x / 7.5)", "return x").replace("(self, x)", "(self, x, CAP)"),
        head("x = CAP * torch.sigmoid(x)", "return x") + "    def f(self):\n        global CAP\n        CAP = 1\n",
        "CAP = 31\n" + head("x = CAP * torch.sigmoid(x / 7.5)", "return x"),
        head("x = self.CAP * torch.sigmoid(x / 7.5)", "return x") + "    CAP = 1\n    CAP = 2\n",
        head("x = self.CAP * torch.sigmoid(x / 7.5)", "return x") + "    def f(self):\n        self.CAP = 1\n",
    ],
)
def test_a_constant_that_may_be_another_number_is_not_understood(code: str) -> None:
    outcome = run("soft_cap", "import torch\nCAP = 30\n" + code)
    assert isinstance(outcome, Refused) and outcome.name == "scale-unknown"


def test_a_constant_of_another_function_does_not_hide_that_of_the_file() -> None:
    hidden = "    def other(self, CAP):\n        CAP = 99\n"
    code = "import torch\nCAP = 30\n" + head("x = CAP * torch.sigmoid(x / 7.5)", "return x") + hidden
    assert isinstance(run("soft_cap", code), Applied)


def test_a_constant_that_is_bound_a_second_time_among_others_is_not_understood() -> None:
    code = "import torch\nCAP = 30\nCAP, OTHER = 40, 1\n" + head("x = CAP * torch.sigmoid(x / 7.5)", "return x")
    outcome = run("soft_cap", code)
    assert isinstance(outcome, Refused) and outcome.name == "scale-unknown"


@pytest.mark.parametrize("statement", ["self.scale, self.act = get()", "self.act += get()"])
def test_an_attribute_that_no_single_expression_sets_is_not_understood(statement: str) -> None:
    code = f"import torch\nclass Head(Model):\n    def __init__(self, config):\n        {statement}\n"
    code += "    def forward(self, x):\n        return self.act(30 * torch.sigmoid(x / 7.5))\n"
    assert isinstance(run("soft_cap", code), Refused)


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


def test_the_causal_head_goes_only_when_it_is_named() -> None:
    code = head(NORBERT, "return x") + head(NORBERT, "return x", name="Causal")
    assert applied("soft_cap", code).count(NORBERT) == 2  # one in code, one in the comment
    assert applied("soft_cap", code, ("Head", "Causal")).count("# splade-patcher") == 2


KEY = "if self.config.cap is not None:", "    x = self.config.cap * torch.sigmoid(x / self.config.cap)"


def test_a_cap_whose_number_stands_in_config_json_goes_from_the_code_and_config_json_stays() -> None:
    after = applied("soft_cap", head(*KEY, "return x"), config={"cap": 30.0})
    assert "scale 30, temperature 30" in after and "            pass\n" in after


def test_a_cap_that_config_json_switches_off_needs_nothing() -> None:
    outcome = run("soft_cap", head(*KEY, "return x"), config={"cap": None})
    assert isinstance(outcome, NotNeeded) and "config.json has no number for cap" in outcome.reason


# Bytes that nobody has a reason to touch


def test_windows_line_ends_survive() -> None:
    code = head(NORBERT, "return x").replace("\n", "\r\n").encode()
    after = applied("soft_cap", code)
    assert after.count("\r\n") == after.count("\n") == 4


def test_mixed_line_ends_survive() -> None:
    code = head("a = 1", NORBERT, "return x").replace("a = 1\n", "a = 1\r\n").encode()
    after = applied("soft_cap", code)
    assert after.count("\r\n") == 1


def test_tabs_and_a_missing_last_newline_survive() -> None:
    code = b"class Head(Model):\n\tdef forward(self, x):\n\t\tx = 30 * torch.sigmoid(x / 7.5)\n\t\treturn x"
    after = applied("soft_cap", code)
    assert after == f"class Head(Model):\n\tdef forward(self, x):\n\t\t{MARK.format(NORBERT)}\n\t\treturn x"


def test_comments_in_any_script_and_a_form_feed_survive() -> None:
    code = "# Sámegiella, blåbærsyltetøy, 日本語\n\x0c\n" + head("# før", NORBERT, "# etter ✓", "return x")
    assert applied("soft_cap", code) == code.replace(f"        {NORBERT}\n", f"        {MARK.format(NORBERT)}\n")


def test_a_declared_encoding_is_kept() -> None:
    code = ("# -*- coding: latin-1 -*-\n# blåbær\n" + head(NORBERT, "return x")).encode("latin-1")
    outcome = run("soft_cap", code)
    assert isinstance(outcome, Applied)
    assert "blåbær".encode("latin-1") in outcome.code


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
