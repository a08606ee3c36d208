"""No input makes planning hang: it ends within a number of steps, with a result or with a refusal by name."""

from __future__ import annotations

from collections.abc import Callable

import libcst as cst
import pytest

from patcher.codemods import Applied, Refused
from patcher.codemods.work import MAX_STEPS, TooComplex, Work
from tests.codemods.shapes import IMPORTS
from tests.codemods.tools import HOME, find_and_remove, package_of

CAP = "x = 30 * torch.sigmoid(x / 7.5)"


def head(*body: str, top: str = "", init: str = "", base: str = "nn.Module", members: str = "") -> str:
    """A head whose forward has these lines."""
    lines = "".join(f"        {line}\n" for line in ("x = self.decoder(h)", *body, "return x"))
    own = f"    def __init__(self):\n        self.decoder = nn.Linear(4, 6)\n{init}"
    return f"{IMPORTS}{top}class Head({base}):\n{own}    def forward(self, h):\n{lines}{members}"


def times(count: int, line: str) -> list[str]:
    """The lines of a text, so many times; `{n}` stands for the number and `{p}` for the one before."""
    return [part for n in range(1, count) for part in line.format(n=n, p=n - 1).split("\n")]


def text(count: int, line: str) -> str:
    return "".join(f"{part}\n" for part in times(count, line))


DOUBLED = "def f{n}(t):\n    return f{p}(t) if t.a else f{p}(t + 1)"
CASES: dict[str, Callable[[], str]] = {
    "a diamond of 22 layers": lambda: head(
        CAP,
        top="class A0: ...\nclass B0: ...\n" + text(22, "class A{n}(A{p}, B{p}): ...\nclass B{n}(A{p}, B{p}): ..."),
        base="A21",
    ),
    "80 blocks of try": lambda: head(*times(80, "try:\n    x = x + self.b\nexcept ValueError:\n    pass"), CAP),
    "200 rebindings": lambda: head(*times(200, "x = x + {n}"), CAP),
    "1,000 rebindings": lambda: head(*times(1000, "x = x.float()"), CAP),
    "300 names": lambda: head("y0 = x", *times(300, "y{n} = y{p}[:]"), "x = y299", CAP),
    "80 names in a loop, the last first": lambda: head(
        "y0 = x", "for _ in range(3):", *("    " + line for line in reversed(times(80, "y{n} = y{p}[:]"))), CAP
    ),
    "90 conditions": lambda: head(*times(90, "if h.a{n}:\n    x = x + {n}"), CAP),
    "a chain of 800 functions": lambda: head(CAP, "x = f799(x)", top="def f0(t): ...\n" + text(800, DOUBLED)),
    "functions that call each other": lambda: head(
        CAP,
        "x = f0(x)",
        top="".join(
            f"def f{n}(t):\n" + "".join(f"    if t:\n        return f{m}(t)\n" for m in range(25)) for n in range(25)
        ),
    ),
    "functions that are given the logits": lambda: head(
        CAP,
        *times(40, "f{n}(x)"),
        top="".join(f"def f{n}(t):\n" + "".join(f"    f{(7 * n + m) % 40}(t)\n" for m in range(40)) for n in range(40)),
    ),
    "constants that double": lambda: head(
        "x = C59 * torch.sigmoid(x / 7.5)", top="C0 = 1.0\n" + text(60, "C{n} = C{p} + C{p}")
    ),
    "properties that double": lambda: head(
        "x = self.p59 * torch.sigmoid(x / 7.5)",
        members="    p0 = 1.0\n" + text(60, "    @property\n    def p{n}(self):\n        return self.p{p} + self.p{p}"),
    ),
    "a dictionary of 6,000 numbers": lambda: head(
        "x = D[3] * torch.sigmoid(x / 7.5)", top="D = {\n" + text(6000, "    {n}: {n},") + "}\n"
    ),
    "3,000 names for one function": lambda: head(
        "x = cap(x)",
        top="def cap(t):\n    return 30 * torch.sigmoid(t / 7.5)\n" + text(3000, "a{p} = a{n}") + "a2999 = cap\n",
    ),
    "80 tensors changed in place": lambda: head(CAP, *times(80, "z{n} = x.clone()"), *times(80, "z{n}.add_(1)")),
}


@pytest.mark.parametrize("name", CASES)
def test_planning_ends_within_a_number_of_steps(name: str) -> None:
    package = package_of({HOME: CASES[name]()})
    outcomes = find_and_remove(package)
    ends = [outcomes] if isinstance(outcomes, Refused) else list(outcomes.values())
    assert all(isinstance(one, (Applied, Refused)) for one in ends)
    assert package.work.done <= MAX_STEPS + 10_000


def test_beyond_the_limit_the_refusal_names_the_function() -> None:
    package = package_of({HOME: head(*times(300, "x = x.float()"), CAP)})
    package.work.limit = 500
    refused = find_and_remove(package)
    assert isinstance(refused, Refused) and refused.name == "too-complex"
    assert "line 8: def forward(self, h):" in refused.reason


def test_steps_are_counted_up_to_the_limit() -> None:
    work, function = Work(3), cst.parse_statement("def f(): ...")
    work.spend(2)
    work.spend(1, function)
    with pytest.raises(TooComplex) as caught:
        work.spend(1, function)
    assert caught.value.function is function
