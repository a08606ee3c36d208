"""Every shape that docs/recognised.md names: heads with a cap, heads without one, and heads that are refused.

A head is written for the numbers `$A` (scale), `$T` (temperature), `$K` = 1 / T, `$H` = A / 2 and `$D` = 2 * T, so that
the same table serves with fixed numbers (soft_cap/test_recognition.py) and with random ones (test_meaning.py). In each
`body`, which is the rest of `forward`, `x` holds the raw logits and `h` the hidden states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Template
from textwrap import dedent, indent
from typing import Any

HOME = "modeling.py"
CAP = "$A * torch.sigmoid(x / $T)"
IMPORTS = """\
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
"""
HEAD = """\


class Output(dict):
    def __init__(self, logits=None, loss=None):
        super().__init__(logits=logits, loss=loss)
        self.logits, self.loss = logits, loss


class Head({base}):
{constants}    def __init__(self, config):
        super().__init__({arguments})
        self.config = config
        self.capped = True
        self.decoder = nn.Linear(4, 6)
{init}
    def forward(self, h, labels=None, return_dict=True):
        x = self.decoder(h)
{body}

    def aux(self, h):
        return h * torch.sigmoid(h), 30 * torch.sigmoid(h / 7.5)
{members}"""


@dataclass(frozen=True)
class Shape:
    """A head. `row` names it in the page's table. An `expression` may stand in other places than `body` puts it."""

    name: str
    row: str
    body: str = ""
    expression: str = ""
    top: str = ""
    constants: str = ""
    init: str = ""
    members: str = ""
    base: str = "nn.Module"
    arguments: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "sigmoid"
    refused: str = ""
    quoted: str = ""

    def numbers(self, scale: float, temperature: float) -> dict[str, str]:
        values = {"A": scale, "T": temperature, "K": 1 / temperature, "H": scale / 2, "D": 2 * temperature}
        return {name: repr(value) for name, value in values.items()}

    def package(
        self, scale: float = 30, temperature: float = 8, body: str | None = None, extra: str = ""
    ) -> dict[str, str]:
        """The files of the model, modeling.py last. `body` replaces that of forward, `extra` is more of modeling.py."""
        numbers = self.numbers(scale, temperature)
        own = body if body is not None else self.body or f"x = {self.expression}\nreturn x"
        head = HEAD.format(
            base=self.base,
            arguments=self.arguments,
            constants=_indented(self.constants, 4),
            init=_indented(self.init, 8),
            body=_indented(own, 8).rstrip("\n"),
            members="\n" + _indented(self.members, 4) if self.members else "",
        )
        files = {path: dedent(code) for path, code in self.files.items()}
        files[HOME] = IMPORTS + dedent(self.top) + extra + head
        return {path: Template(code).substitute(numbers) for path, code in files.items()}

    def settings(self, scale: float = 30, temperature: float = 8) -> dict[str, Any]:
        """config.json."""
        values = {f"${name}": float(text) for name, text in self.numbers(scale, temperature).items()}
        return {key: _filled(value, values) for key, value in self.config.items()}


def _filled(value: Any, values: Mapping[str, float]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, values) for key, item in value.items()}
    return values.get(value, value) if isinstance(value, str) else value


def _indented(text: str, by: int) -> str:
    text = dedent(text)
    return indent(text if text.endswith("\n") or not text else text + "\n", " " * by)


def expressions(row: str, *texts: str, **more: Any) -> list[Shape]:
    return [Shape(text, row, expression=text, **more) for text in texts]


def bodies(row: str, texts: Mapping[str, str], **more: Any) -> list[Shape]:
    return [Shape(name, row, body=dedent(text), **more) for name, text in texts.items()]


FACTORS = "factors in either order, times or divided by, as operators, methods or functions of torch"
LOGISTIC = "the sigmoid written out with exp"
SIGMOIDS = "every name of the sigmoid in torch, and aliases of it"
NUMBERS = "literals, constants, attributes, arguments, and numbers of config.json"
TANH = "the same cap as a tanh"
PLACES = "an assignment, a return value, an argument, a branch of a conditional"
STATEMENTS = "in place, and spread over several statements"
CASTS = "casts, slices and changes of shape around it, which stay"
REACH = "in forward, a method, a base class, the head module, a helper function or a cap module, also in another file"
FLOW = "whatever carries the logits: output objects, tuples, loops over chunks, with, try and match"

CAP_FUNCTION = "def _cap(x, a=$A, t=$T):\n    return a * torch.sigmoid(x / t)\n\n"
PAIR = "def pair(self, t):\n    t = $A * torch.sigmoid(t / $T)\n    return t.mean(), t\n"
LM = """\
class LM(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 6)

    def forward(self, h, labels=None):
        logits = self.head(h)
        logits = $A * torch.sigmoid(logits / $T)
        loss = logits.mean() if labels is not None else None
        return logits, loss
"""

ACCEPTED: list[Shape] = [
    *expressions(
        FACTORS,
        "$A * torch.sigmoid(x / $T)",
        "torch.sigmoid(x / $T) * $A",
        "$A * torch.sigmoid(x * $K)",
        "$A * torch.sigmoid($K * x)",
        "$A * torch.sigmoid(x.div($T))",
        "$A * torch.sigmoid(x.mul($K))",
        "$A * torch.sigmoid(torch.div(x, $T))",
        "$A * torch.sigmoid(torch.true_divide(x, $T))",
        "$A * torch.sigmoid(torch.mul(x, $K))",
        "$A * torch.sigmoid(torch.mul($K, other=x))",
        "$A * torch.sigmoid(torch.multiply(input=x, other=$K))",
        "torch.mul($A, torch.sigmoid(x / $T))",
        "torch.mul(torch.sigmoid(x / $T), $A)",
        "torch.sigmoid(x / $T).mul($A)",
        "torch.sigmoid(x / $T) / (1 / $A)",
        "torch.sigmoid(x / $T).div(1 / $A)",
        "2 * ($H * torch.sigmoid(x / 2 / ($T / 2)))",
        "+$A * torch.sigmoid(+x / +$T)",
        "-$A * -torch.sigmoid(-x / -$T)",
        "-(-$A * torch.sigmoid(x / $T))",
        "torch.neg(-$A * torch.sigmoid(x.neg() / -$T))",
        "$A * (1 - torch.sigmoid(-x / $T))",
        "$A - $A * torch.sigmoid(x / -$T)",
        "(($A) * (torch.sigmoid(((x) / ($T)))))",
        "$A * torch.sigmoid(\n    x / $T\n)",
        "(\n    $A  # the scale\n    * torch.sigmoid(\n        x\n        / $T  # the temperature\n    )\n)",
        "$A * \\\n    torch.sigmoid(x / \\\n        $T)",
        "$A * torch.sigmoid((x + 1) / $T)",
        "$A * torch.sigmoid((x if self.capped else x * 1.5) / $T)",
    ),
    *expressions(
        LOGISTIC,
        "$A / (1 + torch.exp(-x / $T))",
        "$A / (torch.exp(-(x / $T)) + 1.0)",
        "$A * (1 / (1 + (-x / $T).exp()))",
        "$A * (1 + torch.exp(-x * $K)).reciprocal()",
        "$A * torch.reciprocal(1 + torch.exp(x / -$T))",
        "(\n    $A\n    / (1 + torch.exp(\n        -x / $T\n    ))\n)",
    ),
    *expressions(
        SIGMOIDS,
        "$A * torch.special.expit(x / $T)",
        "$A * F.sigmoid(x / $T)",
        "$A * nn.functional.sigmoid(x / $T)",
        "$A * torch.nn.functional.sigmoid(input=x / $T)",
        "$A * (x / $T).sigmoid()",
        "$A * x.div($T).sigmoid()",
        "$A * nn.Sigmoid()(x / $T)",
        "$A * torch.nn.Sigmoid()(input=x / $T)",
        "$A * torch.Tensor.sigmoid(x / $T)",
    ),
    *expressions(SIGMOIDS, "$A * squash(x / $T)", top="from torch import sigmoid as squash\n"),
    *[
        Shape(f"{line}: {call}", SIGMOIDS, expression=f"$A * {call}(x / $T)", top=line + "\n")
        for line, call in {
            "from torch import sigmoid": "sigmoid",
            "from torch.nn.functional import sigmoid": "sigmoid",
            "from torch.special import expit": "expit",
            "import torch as t": "t.sigmoid",
            "import torch.nn.functional as fn": "fn.sigmoid",
            "from torch import nn as layers": "layers.functional.sigmoid",
            "from torch import special": "special.expit",
            "from torch.nn import Sigmoid": "Sigmoid()",
            "from torch.nn import functional": "functional.sigmoid",
            "squash = torch.sigmoid": "squash",
        }.items()
    ],
    Shape(
        "self.sigmoid of __init__", SIGMOIDS, expression="$A * self.sigmoid(x / $T)", init="self.sigmoid = nn.Sigmoid()"
    ),
    Shape("self.act = torch.sigmoid", SIGMOIDS, expression="$A * self.act(x / $T)", init="self.act = torch.sigmoid"),
    Shape("a class attribute", SIGMOIDS, expression="$A * self.squash(x / $T)", constants="squash = torch.sigmoid\n"),
    *bodies(
        SIGMOIDS,
        {
            "a local alias": "squash = torch.sigmoid\nreturn $A * squash(x / $T)",
            "an import in forward": "from torch import sigmoid as squash\nreturn $A * squash(x / $T)",
            "an import of F in forward": "import torch.nn.functional as fun\nreturn $A * fun.sigmoid(x / $T)",
        },
    ),
    Shape("module constants", NUMBERS, expression="SCALE * torch.sigmoid(x / T)", top="SCALE = $A\nT: float = $T\n"),
    Shape("computed constants", NUMBERS, expression="S * torch.sigmoid(x / S * R)", top="S = $H * 2\nR = S / $T\n"),
    Shape("class constants", NUMBERS, expression="self.S * torch.sigmoid(x / Head.R)", constants="S = $A\nR = $T\n"),
    Shape(
        "attributes of __init__",
        NUMBERS,
        expression="self.s * torch.sigmoid(x / self.t)",
        init="self.s, self.t = $A, $T",
    ),
    Shape(
        "self.config",
        NUMBERS,
        expression="self.config.cap * torch.sigmoid(x / self.config.t)",
        config={"cap": "$A", "t": "$T"},
    ),
    Shape(
        "config in __init__",
        NUMBERS,
        expression="self.s * torch.sigmoid(x / $T)",
        init="self.s = config.cap",
        config={"cap": "$A"},
    ),
    Shape(
        "getattr with the number in config.json",
        NUMBERS,
        expression='getattr(self.config, "cap", 99.0) * torch.sigmoid(x / $T)',
        config={"cap": "$A"},
    ),
    Shape("getattr with its default", NUMBERS, expression='getattr(self.config, "cap", $A) * torch.sigmoid(x / $T)'),
    Shape(
        "a number of a nested configuration",
        NUMBERS,
        expression="self.config.head.cap * torch.sigmoid(x / $T)",
        config={"head": {"cap": "$A"}},
    ),
    *expressions(
        NUMBERS,
        "float($A) * torch.sigmoid(x * $T ** -1)",
        "math.sqrt($A ** 2) * torch.sigmoid(x / abs(-$T))",
        "(2 * $A / 2 if True else 1) * torch.sigmoid(x / max($T, 0.001))",
        top="import math\n",
    ),
    Shape(
        "tuples and dictionaries",
        NUMBERS,
        expression="CAPS[0] * torch.sigmoid(x / TABLE['t'])",
        top="CAPS = ($A, $T)\nTABLE = {'s': $A, 't': $T}\n",
    ),
    Shape(
        "unpacked constants",
        NUMBERS,
        body="scale, t = self.pair\nreturn scale * torch.sigmoid(x / t)",
        constants="pair = ($A, $T)\n",
    ),
    Shape(
        "a property",
        NUMBERS,
        expression="self.scale * torch.sigmoid(x / $T)",
        members="@property\ndef scale(self):\n    return 2 * $H\n",
    ),
    Shape("a local constant", NUMBERS, body="scale, t = $A, $T\nreturn scale * torch.sigmoid(x / t)"),
    Shape(
        "constants of another file",
        NUMBERS,
        expression="SCALE * torch.sigmoid(x / numbers.T)",
        top="from . import numbers\nfrom .numbers import SCALE\n",
        files={"numbers.py": "SCALE = $A\nT = $T\n"},
    ),
    *expressions(
        TANH,
        "$H * (1 + torch.tanh(x / $D))",
        "$H * (torch.tanh(x / $D) + 1)",
        "(1 + F.tanh(x / $D)) * $H",
        "$H + $H * torch.tanh(x / $D)",
        "$H * torch.tanh(x / $D) + $H",
        "$A * (0.5 + 0.5 * (x / $D).tanh())",
        "$A * (0.5 * torch.tanh(0.5 * x / $T) + 0.5)",
        "$A * nn.Tanh()(x / $D).add(1).div(2)",
        "torch.add($H, torch.tanh(x / $D).mul($H))",
        "$H * (1 - torch.tanh(-x / $D))",
        "$A * torch.sub(1, torch.sigmoid(-x / $T))",
    ),
    *bodies(
        PLACES,
        {
            "an assignment to itself": f"x = {CAP}\nreturn x",
            "an assignment to another name": f"y = {CAP}\nreturn y",
            "an annotated assignment": f"y: Tensor = {CAP}\nreturn y",
            "an annotated assignment to itself": f"x: Tensor = {CAP}\nreturn x",
            "two targets": f"x = y = {CAP}\nreturn y",
            "a pair": f"x, z = {CAP}, 1\nreturn x",
            "a return value": f"return {CAP}",
            "an argument": f"return Output(logits={CAP})",
            "an argument of torch": f"return torch.clone({CAP})",
            "an argument over lines": "return Output(\n    loss=None,\n    logits=$A\n    * torch.sigmoid(x / $T),\n)",
            "one branch of an expression": f"x = {CAP} if self.capped else x\nreturn x",
            "the other branch of an expression": f"return x if not self.capped else {CAP}",
            "a branch": f"if self.capped:\n    x = {CAP}\nreturn x",
            "a branch of one line": f"if self.capped: x = {CAP}\nreturn x",
            "else": f"if not self.capped:\n    pass\nelse:\n    x = {CAP}\nreturn x",
            "an early return": f"if not self.capped:\n    return x\nreturn {CAP}",
            "one of several on a line": f"a = 1; x = {CAP}; b = 2\nreturn x",
            "an assignment expression": f"if (y := {CAP}) is not None:\n    pass\nreturn y",
            "an assignment expression inside": "return $A * torch.sigmoid((y := x) / $T)",
            "a dictionary": f'return {{"logits": {CAP}, "loss": None}}',
            "a subscript": f"return ({CAP})[...]",
            "a line of 3,000 characters": f"return {CAP}  # {'long ' * 600}",
        },
    ),
    *bodies(
        STATEMENTS,
        {
            "three statements": "p = x / $T; p = torch.sigmoid(p); p = $A * p\nreturn p",
            "three names": "p = x / $T\nq = torch.sigmoid(p)\nr = $A * q\nreturn r",
            "augmented": "x /= $T\nx = x.sigmoid()\nx *= $A\nreturn x",
            "in place": "x = x / $T\nx.sigmoid_().mul_($A)\nreturn x",
            "in place from the start": "x.div_($T).sigmoid_().mul_($A)\nreturn x",
            "in place in a return": "return x.div_($T).sigmoid_().mul_($A)",
            "in place by torch": "x = x * $K\ntorch.sigmoid_(x)\nx.mul_($A)\nreturn x",
            "in place line by line": "x.div_($T)\nx.sigmoid_()\nx.mul_($A)\nreturn x",
            "in place to another name": "y = x.div_($T).sigmoid_()\ny.mul_($A)\nreturn y",
            "tanh in place": "x.div_($D).tanh_().add_(1).mul_($H)\nreturn x",
            "tanh over statements": "t = torch.tanh(x / $D)\nt += 1\nt = t * $H\nreturn t",
            "two branches": "if self.capped:\n    p = x / $T\nelse:\n    p = x * $K\nreturn $A * torch.sigmoid(p)",
            "comments between": "# first\np = x / $T\n\n# then\np = torch.sigmoid(p)  # here\nreturn $A * p",
        },
    ),
    *expressions(
        CASTS,
        "($A * torch.sigmoid(x / $T)).double()",
        "($A * torch.sigmoid(x / $T)).to(h.dtype)",
        "$A * torch.sigmoid(x.double() / $T)",
        "$A * torch.sigmoid(x / $T).to(torch.float64)",
        "$A * torch.sigmoid((x / $T).double()).type_as(h)",
        "$A * torch.sigmoid(x.reshape(-1, 6) / $T).view(x.shape)",
        "($A * torch.sigmoid(x / $T))[:, :6].contiguous()",
        "$A * torch.sigmoid(x[..., :] / $T)",
        "torch.cat([h.new_zeros(1, 6), $A * torch.sigmoid(x / $T)])[1:]",
        "($A * torch.sigmoid(x / $T)).masked_fill(h[:, :1] > 1e9, 0.0)",
        "torch.where(h[:, :1] > 1e9, 0.0, $A * torch.sigmoid(x / $T))",
    ),
    Shape("float() stays", CASTS, expression="($A * torch.sigmoid(x.float() / $T)).float()"),
    *bodies(CASTS, {"a cast statement behind": f"x = {CAP}\nx = x.double()\nreturn x"}),
    Shape(
        "a method",
        REACH,
        body="return self.squash(x)",
        members="def squash(self, t):\n    return $A * torch.sigmoid(t / $T)\n",
    ),
    Shape(
        "a method with the projection",
        REACH,
        body="return self.project(h)",
        members="def project(self, h):\n    y = self.decoder(h)\n    return $A * torch.sigmoid(y / $T)\n",
    ),
    Shape(
        "a method of methods",
        REACH,
        body="return Output(self.outer(x), None) if False else self.outer(x)",
        members="""\
        def outer(self, t):
            return self.half(t) * $A

        def half(self, t):
            return torch.sigmoid(t / $T)
        """,
    ),
    Shape(
        "a static method",
        REACH,
        body="return self.squash(x, $A)",
        members="@staticmethod\ndef squash(t, scale, by=$T):\n    return scale * torch.sigmoid(t / by)\n",
    ),
    Shape(
        "a base class",
        REACH,
        body="return self.squash(x)",
        base="Base",
        top="class Base(nn.Module):\n    def squash(self, t):\n        return $A * torch.sigmoid(t / $T)\n",
    ),
    Shape(
        "a base class in another file",
        REACH,
        body="return self.squash(x)",
        base="bases.Base",
        top="from . import bases\n",
        files={
            "bases.py": IMPORTS
            + "class Base(nn.Module):\n    def squash(self, t):\n        return $A * torch.sigmoid(t / $T)\n"
        },
    ),
    Shape(
        "forward of a base class",
        REACH,
        body="return super().forward(h)",
        base="Base",
        top="from .bases import Base\n",
        files={
            "bases.py": IMPORTS + "class Base(nn.Module):\n"
            "    def forward(self, h):\n        x = self.decoder(h)\n        return $A * torch.sigmoid(x / $T)\n"
        },
    ),
    Shape(
        "logits of the output of a base class",
        REACH,
        body="return super().forward(h).logits",
        base="Base",
        top="from .bases import Base\n",
        files={
            "bases.py": IMPORTS + "from types import SimpleNamespace\n"
            "class Base(nn.Module):\n    def forward(self, h):\n        x = self.decoder(h)\n"
            "        return SimpleNamespace(logits=$A * torch.sigmoid(x / $T))\n"
        },
    ),
    Shape(
        "the head module",
        REACH,
        body="return self.classifier(h)",
        init="self.classifier = LMHead(config, $A)\nself.classifier.linear = self.decoder",
        top="""\
        class LMHead(nn.Module):
            def __init__(self, config, scale, temperature=$T):
                super().__init__()
                self.linear = nn.Linear(4, 6)
                self.scale = scale
                self.temperature = temperature

            def forward(self, h):
                return self.scale * torch.sigmoid(self.linear(h) / self.temperature)
        """,
    ),
    Shape(
        "the head module in another file",
        REACH,
        body="return self.classifier(x)",
        init="self.classifier = heads.LMHead()",
        top="from . import heads\n",
        files={
            "heads.py": IMPORTS + "class LMHead(nn.Module):\n"
            "    def forward(self, x):\n        x = x + 1\n        x = $A * torch.sigmoid(x / $T)\n        return x\n"
        },
    ),
    Shape(
        "a helper function",
        REACH,
        body="return squash(x, $A, temperature=$T)",
        top="def squash(t, scale, temperature=1.0):\n    return scale * torch.sigmoid(t / temperature)\n",
    ),
    Shape(
        "a helper function of another file",
        REACH,
        body="x = cap(x)\nreturn x",
        top="from .heads import cap\n",
        files={"heads.py": IMPORTS + "def cap(t):\n    return $A * torch.sigmoid(t / $T)\n"},
    ),
    Shape(
        "a helper function by its file",
        REACH,
        body="return Output(logits=heads.cap(x, $A))",
        top="from . import heads\n",
        files={"heads.py": IMPORTS + "def cap(t, scale):\n    t = t / $T\n    return scale * torch.sigmoid(t)\n"},
    ),
    Shape(
        "a helper function in a folder, over two files",
        REACH,
        body="return squash(x)",
        top="from .parts.caps import cap as squash\n",
        files={
            "parts/inner.py": IMPORTS + "def half(t):\n    return torch.sigmoid(t / $T)\n",
            "parts/caps.py": "from .inner import half\n\ndef cap(t):\n    return $A * half(t)\n",
        },
    ),
    Shape(
        "a cap module",
        REACH,
        body="return self.cap(x)",
        init="self.cap = SoftCap($A, $T)",
        top="""\
        class SoftCap(nn.Module):
            def __init__(self, scale, temperature):
                super().__init__()
                self.scale, self.temperature = scale, temperature

            def forward(self, x):
                return self.scale * torch.sigmoid(x / self.temperature)
        """,
    ),
    Shape(
        "a cap module in another file",
        REACH,
        body="x = self.cap(x)\nreturn x",
        init="self.cap = SoftCap(scale=config.cap)",
        top="from .caps import SoftCap\n",
        files={
            "caps.py": IMPORTS
            + "class SoftCap(nn.Module):\n    def __init__(self, scale):\n        super().__init__()\n"
            "        self.s = scale\n\n    def forward(self, x):\n        return self.s * torch.sigmoid(x / $T)\n"
        },
        config={"cap": "$A"},
    ),
    *[
        Shape(name, REACH, body=body, init=init, members=members, top=CAP_FUNCTION + top)
        for name, body, init, members, top in [
            ("a compiled function", "return cap(x)", "", "", "cap = torch.compile(_cap)\n"),
            ("a function compiled in forward", "cap = torch.compile(_cap)\nreturn cap(x)", "", "", ""),
            ("a function compiled where it is called", "return torch.compile(_cap, dynamic=True)(x)", "", "", ""),
            ("a compiled attribute", "return self.cap(x)", "self.cap = torch.compile(_cap)", "", ""),
            (
                "a compiled method",
                "return self.cap(x)",
                "self.cap = torch.compile(self.squash)",
                "def squash(self, t):\n    return $A * torch.sigmoid(t / $T)\n",
                "",
            ),
            (
                "a compiled module",
                "return self.cap(x)",
                "self.cap = torch.compile(Cap())",
                "",
                "class Cap(nn.Module):\n    def forward(self, t):\n        return _cap(t)\n",
            ),
            (
                "functools.partial",
                "return cap(x)",
                "",
                "",
                "import functools\ncap = functools.partial(_cap, a=$A, t=$T)\n",
            ),
            (
                "a partial attribute",
                "return self.cap(x, t=$T)",
                "self.cap = partial(swapped, $A)",
                "",
                "from functools import partial\ndef swapped(a, x, t):\n    return a * torch.sigmoid(x / t)\n",
            ),
            (
                "below a try",
                "return cap(x)",
                "",
                "",
                "try:\n    def cap(t):\n        return _cap(t)\nfinally: ...\n",
            ),
            (
                "a static method through its class",
                "return Caps.cap(x)",
                "",
                "",
                "class Caps:\n    @staticmethod\n    def cap(t):\n        return _cap(t)\n",
            ),
            (
                "a method through its class",
                "return Head.squash(self, x)",
                "self.s = $A",
                "def squash(self, t):\n    return self.s * torch.sigmoid(t / $T)\n",
                "",
            ),
            (
                "a class method through the type",
                "return type(self).squash(x)",
                "",
                "S = $A\n\n@classmethod\ndef squash(cls, t):\n    return cls.S * torch.sigmoid(t / $T)\n",
                "",
            ),
            (
                "forward of another class",
                "return LMHead.forward(self.lm, x)",
                "self.lm = LMHead($A)",
                "",
                "class LMHead(nn.Module):\n    def __init__(self, s):\n        super().__init__()\n"
                "        self.s = s\n\n    def forward(self, x):\n        return self.s * torch.sigmoid(x / $T)\n",
            ),
        ]
    ],
    *bodies(
        FLOW,
        {
            "output.logits": f"out = Output(logits=x)\nout.logits = {CAP}\nreturn out",
            "output.logits of itself": """\
                out = Output(logits=x)
                out.logits = $A * torch.sigmoid(out.logits / $T)
                return out
                """,
            "both forms of return": f"x = {CAP}\nif not return_dict:\n    return (x,)\nreturn Output(logits=x)",
            "a loss before the logits": f"""\
                x = {CAP}
                loss = x.sum() if labels is not None else None
                if not return_dict:
                    output = (x,) + (h,)
                    return ((loss,) + output) if loss is not None else output
                return Output(loss=loss, logits=x)
                """,
            "a tuple with the loss first": f"x = {CAP}\nloss = x.mean()\nreturn loss, x",
            "under autocast": f"with torch.autocast('cpu', enabled=False):\n    x = {CAP}\nreturn x",
            "in try": f"try:\n    x = {CAP}\nfinally:\n    self.done = True\nreturn x",
            "returned from try": f"try:\n    return {CAP}\nfinally:\n    self.done = True",
            "in match": f"match self.capped:\n    case True:\n        x = {CAP}\n    case _:\n        pass\nreturn x",
            "a loop over chunks": """\
                chunks = []
                for part in x.split(2):
                    part = $A * torch.sigmoid(part / $T)
                    chunks.append(part)
                return torch.cat(chunks)
                """,
            "appended in a loop": """\
                chunks = []
                for part in x.split(2):
                    chunks.append($A * torch.sigmoid(part / $T))
                x = torch.cat(chunks, dim=0)
                return x
                """,
            "a list comprehension": "return torch.cat([$A * torch.sigmoid(part / $T) for part in x.split(2)])",
            "rows filled in a loop": """\
                y = torch.empty_like(x)
                for i in range(len(x)):
                    y[i] = $A * torch.sigmoid(x[i] / $T)
                return y
                """,
        },
    ),
    Shape(
        "a tuple of a module",
        FLOW,
        body="logits, loss = self.lm(h, labels)\nreturn Output(logits, loss)",
        init="self.lm = LM()\nself.lm.head = self.decoder",
        top=LM,
    ),
    *[
        Shape(body.partition("\n")[0], FLOW, body=body, members=PAIR)
        for body in (
            "loss, y = self.pair(x)\nreturn y",
            "*_, y = self.pair(x)\nreturn y",
            "out = self.pair(x)\nreturn out[1]",
            "return self.pair(x)[1]",
        )
    ],
    *bodies(
        FLOW,
        {
            "unpacked from a pair": f"pair = ({CAP}, None)\ny, loss = pair\nreturn y",
            "an output of a dictionary": f"out = {{'logits': {CAP}, 'loss': None}}\nreturn Output(**out)",
            "an output of a dictionary that is filled": (
                f"out = {{'loss': None}}\nout['logits'] = {CAP}\nreturn Output(**out)"
            ),
            "an output of a dictionary by name": f"return Output(**dict(logits={CAP}))",
            "a dictionary that is filled": f"out = {{}}\nout['logits'] = {CAP}\nreturn out",
        },
    ),
    Shape(
        "a forward of stars",
        FLOW,
        body="out = self.run(*(h,), **{})\nout = $A * torch.sigmoid(out / $T)\nreturn out",
        members="def run(self, *args, **kwargs):\n    return self.decoder(args[0])\n",
    ),
    Shape(
        "a decorated helper",
        FLOW,
        body="return squash(x)",
        top="@torch.no_grad()\ndef squash(t):\n    return $A * torch.sigmoid(t / $T)\n",
    ),
]

GATE = "gates, SiLU and attention: a sigmoid with which something else is multiplied"
LOSS = "a sigmoid on a loss, in another head, or in dead code"
OTHER = "a name `sigmoid` that is something else"
SIGNED = "a signed cap, `c * tanh(x / c)`"

# Heads whose cap goes while something that looks like one stays: `quoted` are the lines that must not change.
BESIDE: list[Shape] = [
    Shape(name, row, body=dedent(body), quoted=quoted, top=dedent(top))
    for name, row, body, quoted, top in [
        (
            "a gate",
            GATE,
            f"gate = torch.sigmoid(h)\nx = x * gate.mean()\nx = {CAP}\nreturn x",
            "gate = torch.sigmoid(h)",
            "",
        ),
        ("SiLU", GATE, f"x = x * torch.sigmoid(x)\nx = {CAP}\nreturn x", "x = x * torch.sigmoid(x)", ""),
        ("SiLU by name", GATE, f"h = F.silu(h)\nx = self.decoder(h)\nx = {CAP}\nreturn x", "h = F.silu(h)", ""),
        (
            "an attention gate",
            GATE,
            f"h = 2 * torch.sigmoid(h / 3) * h\nx = self.decoder(h)\nx = {CAP}\nreturn x",
            "h = 2 * torch.sigmoid(h / 3) * h",
            "",
        ),
        (
            "a loss",
            LOSS,
            f"x = {CAP}\nloss = F.mse_loss(30 * torch.sigmoid(h / 7), h)\nreturn Output(x, loss)",
            "loss = F.mse_loss(30 * torch.sigmoid(h / 7), h)",
            "",
        ),
        (
            "a loss in a tuple",
            LOSS,
            f"loss = 30 * torch.sigmoid(x.mean() / 7)\nx = {CAP}\nreturn loss, x",
            "loss = 30 * torch.sigmoid(x.mean() / 7)",
            "",
        ),
        (
            "another head",
            LOSS,
            f"x = {CAP}\nreturn x",
            "return 30 * torch.sigmoid(h / 7.5)",
            "class Other(nn.Module):\n    def forward(self, h):\n        return 30 * torch.sigmoid(h / 7.5)\n",
        ),
        (
            "dead code",
            LOSS,
            f"x = {CAP}\nreturn x\nx = 20 * torch.sigmoid(x / 3)\nreturn x",
            "x = 20 * torch.sigmoid(x / 3)",
            "",
        ),
        ("an unused value", LOSS, f"y = 20 * torch.sigmoid(x / 3)\nreturn {CAP}", "y = 20 * torch.sigmoid(x / 3)", ""),
        (
            "an overwritten value",
            LOSS,
            f"y = 20 * torch.sigmoid(x / 3)\ny = {CAP}\nreturn y",
            "y = 20 * torch.sigmoid(x / 3)",
            "",
        ),
        (
            "a function of that name",
            OTHER,
            f"x = sigmoid(x)\nx = {CAP}\nreturn x",
            "x = sigmoid(x)",
            "def sigmoid(t):\n    return t + 1\n",
        ),
    ]
]

# Heads that are refused: by which name, and with which line.
REFUSED: list[Shape] = [
    Shape(name, row, body=dedent(body), refused=refused, quoted=quoted, **more)
    for name, row, body, refused, quoted, more in [
        ("a probability", "no-scale", "return torch.sigmoid(x / $T)", "no-scale", "return torch.sigmoid(x / 8)", {}),
        (
            "half of them scaled",
            "no-scale",
            "y = torch.sigmoid(x / $T)\nif self.capped:\n    y = $A * y\nreturn y",
            "no-scale",
            "y = torch.sigmoid(x / 8)",
            {},
        ),
        (
            "an unknown scale",
            "scale-unknown",
            "return h.mean() * torch.sigmoid(x / $T)",
            "scale-unknown",
            "line 22: return h.mean() * torch",
            {},
        ),
        (
            "a learned scale",
            "scale-unknown",
            "return self.s * torch.sigmoid(x / $T)",
            "scale-unknown",
            "self.s * torch",
            {"init": "self.s = nn.Parameter(torch.ones(1))"},
        ),
        (
            "SiLU as logits",
            "scale-unknown",
            "return x * torch.sigmoid(x)",
            "scale-unknown",
            "return x * torch.sigmoid(x)",
            {},
        ),
        (
            "a gate as logits",
            "scale-unknown",
            "return torch.sigmoid(x) * self.decoder(h)",
            "scale-unknown",
            "torch.sigmoid(x)",
            {},
        ),
        (
            "a scale of two numbers",
            "scale-unknown",
            "s = $A\nif labels is None:\n    s = 2 * s\nreturn s * torch.sigmoid(x / $T)",
            "scale-unknown",
            "return s * torch",
            {},
        ),
        (
            "a scale given by the caller",
            "scale-unknown",
            "return self.f(x)",
            "scale-unknown",
            "return s * torch.sigmoid(t / 8)",
            {"members": "def f(self, t, *, s=None):\n    return s * torch.sigmoid(t / $T)\n"},
        ),
        (
            "a default that stars may replace",
            "scale-unknown",
            "return squash(x, **self.more)",
            "scale-unknown",
            "return s * torch.sigmoid(t / 8)",
            {"top": "def squash(t, s=$A):\n    return s * torch.sigmoid(t / $T)\n", "init": "self.more = dict(s=2)"},
        ),
        (
            "a constant that an if replaces",
            "scale-unknown",
            "return S * torch.sigmoid(x / $T)",
            "scale-unknown",
            "return S * torch",
            {"top": "S = $A\nif torch.cuda.is_available():\n    S = 50\n"},
        ),
        (
            "an attribute set from outside",
            "scale-unknown",
            "return self.head(x)",
            "scale-unknown",
            "return self.s * torch",
            {
                "top": "class LMHead(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
                "        self.s = $A\n\n    def forward(self, x):\n        return self.s * torch.sigmoid(x / $T)\n",
                "init": "self.head = LMHead()\nself.head.s = 50.0",
            },
        ),
        (
            "an attribute set under a condition",
            "scale-unknown",
            "return self.s * torch.sigmoid(x / $T)",
            "scale-unknown",
            "return self.s * torch",
            {"constants": "s = $A\n", "init": "if self.capped:\n    self.s = 50.0"},
        ),
        (
            "an attribute set by name",
            "scale-unknown",
            "return self.s * torch.sigmoid(x / $T)",
            "scale-unknown",
            "return self.s * torch",
            {"init": "self.s = $A\nsetattr(self, 's', 50.0)"},
        ),
        (
            "an entry of a dictionary that changes",
            "scale-unknown",
            "return CAPS['s'] * torch.sigmoid(x / $T)",
            "scale-unknown",
            "return CAPS['s'] * torch",
            {"top": "CAPS = {'s': $A}\nCAPS['s'] = 50.0\n"},
        ),
        (
            "a default of the configuration class",
            "scale-unknown",
            "return getattr(self.config, 'cap', $A) * torch.sigmoid(x / $T)",
            "scale-unknown",
            "return getattr(self.config, 'cap', 30) * torch",
            {"top": "class HeadConfig(dict):\n    def __init__(self, cap=50.0):\n        self.cap = cap\n"},
        ),
        (
            "a configuration without the number",
            "scale-unknown",
            "return self.config.cap * torch.sigmoid(x / $T)",
            "scale-unknown",
            "return self.config.cap * torch",
            {},
        ),
        (
            "an unknown temperature",
            "temperature-unknown",
            "return $A * torch.sigmoid(x / h.std())",
            "temperature-unknown",
            "return 30 * torch.sigmoid(x / h.std())",
            {},
        ),
        (
            "an offset",
            "offset",
            "return $A * torch.sigmoid(x / $T) - 1",
            "offset",
            "return 30 * torch.sigmoid(x / 8) - 1",
            {},
        ),
        (
            "a sum with something else",
            "offset",
            "return $A * torch.sigmoid(x / $T) + self.decoder(h)",
            "offset",
            "return 30 * torch.sigmoid(x / 8) + self.decoder(h)",
            {},
        ),
        (
            "a sum by torch",
            "offset",
            "return torch.add($A * torch.sigmoid(x / $T), x)",
            "offset",
            "torch.add(30 * torch",
            {},
        ),
        (
            "a falling map",
            "decreasing",
            "return -$A * torch.sigmoid(x / $T)",
            "decreasing",
            "return -30 * torch.sigmoid(x / 8)",
            {},
        ),
        (
            "a falling map inside",
            "decreasing",
            "return $A * torch.sigmoid(-x / $T)",
            "decreasing",
            "return 30 * torch.sigmoid(-x / 8)",
            {},
        ),
        (
            "nothing times",
            "decreasing",
            "return 0 * torch.sigmoid(x / $T)",
            "decreasing",
            "return 0 * torch.sigmoid(x / 8)",
            {},
        ),
        (
            "two caps",
            "several-caps",
            f"x = {CAP}\nx = 2 * torch.sigmoid(x)\nreturn x",
            "several-caps",
            "line 22: x = 30 * torch.sigmoid(x / 8)",
            {},
        ),
        (
            "two caps in two branches",
            "several-caps",
            f"if return_dict:\n    return Output({CAP})\nreturn ({CAP},)",
            "several-caps",
            "return (30 * torch.sigmoid(x / 8),)",
            {},
        ),
        (
            "two scales",
            "several-caps",
            "y = torch.sigmoid(x / $T)\nif self.capped:\n    y = $A * y\nelse:\n    y = 5 * y\nreturn y",
            "several-caps",
            "y = torch.sigmoid(x / 8)",
            {},
        ),
        (
            "an output tensor",
            "not-understood",
            "return $A * torch.sigmoid(x / $T, out=x)",
            "not-understood",
            "torch.sigmoid(x / 8, out=x)",
            {},
        ),
        (
            "a cap in a loop",
            "not-understood",
            f"for _ in range(2):\n    x = {CAP}\nreturn x",
            "not-understood",
            "x = 30 * torch.sigmoid(x / 8)",
            {},
        ),
        (
            "a cap scaled again behind a join",
            "not-understood",
            f"x = torch.cat([h.new_ones(1, 6), {CAP}])\nreturn 2 * x",
            "not-understood",
            "torch.cat([h.new_ones(1, 6), 30 * torch",
            {},
        ),
        (
            "too many paths",
            "not-understood",
            "".join(f"if len(h) > {n}:\n    x = x * {n + 2}\n" for n in range(9)) + f"return {CAP}",
            "not-understood",
            "return 30 * torch.sigmoid(x / 8)",
            {},
        ),
        (
            "a probability of capped logits",
            "no-scale",
            f"x = {CAP}\nreturn torch.sigmoid(x)",
            "no-scale",
            "x = 30 * torch.sigmoid(x / 8)",
            {},
        ),
        (
            "nn.Sequential",
            "in-a-container",
            "return $A * self.head(h)",
            "in-a-container",
            "self.head = nn.Sequential(self.decoder, nn.Sigmoid())",
            {"init": "self.head = nn.Sequential(self.decoder, nn.Sigmoid())"},
        ),
        (
            "half a cap returned",
            "used-elsewhere",
            "p = torch.sigmoid(x / $T)\nx = $A * p\nreturn Output(x, p.mean())",
            "used-elsewhere",
            "return Output(x, p.mean())",
            {},
        ),
        (
            "half a cap for a loss",
            "used-elsewhere",
            "p = x / $T\nloss = p.mean()\nreturn Output($A * torch.sigmoid(p), loss)",
            "used-elsewhere",
            "loss = p.mean()",
            {},
        ),
        (
            "a tensor changed in place and read again",
            "used-elsewhere",
            "y = x.div_($T).sigmoid_().mul_($A)\nreturn Output(y, x.sum())",
            "used-elsewhere",
            "return Output(y, x.sum())",
            {},
        ),
        (
            "two names for one tensor, of which one changes",
            "used-elsewhere",
            "y = $A * torch.sigmoid(x / $T)\nx.zero_()\nreturn y",
            "used-elsewhere",
            "x.zero_()",
            {},
        ),
        (
            "a method that another head calls",
            "used-elsewhere",
            "return self.project(h)",
            "used-elsewhere",
            "return self.project(h + 1)",
            {
                "members": "def project(self, h):\n    return $A * torch.sigmoid(self.decoder(h) / $T)\n\n"
                "def second(self, h):\n    return self.project(h + 1)\n"
            },
        ),
        (
            "a lambda",
            "not-understood",
            "cap = lambda t: $A * torch.sigmoid(t / $T)\nreturn cap(x)",
            "not-understood",
            "cap = lambda t: 30 * torch.sigmoid(t / 8)",
            {},
        ),
        (
            "a function in forward",
            "not-understood",
            "def cap(t):\n    return $A * torch.sigmoid(t / $T)\n\nreturn cap(x)",
            "not-understood",
            "return 30 * torch.sigmoid(t / 8)",
            {},
        ),
        *(
            (name, "not-understood", body, "not-understood", quoted, more)
            for name, body, quoted, more in [
                ("softsign", "return $A * F.softsign(x / $T)", "F.softsign(x / 8)", {}),
                ("softsign written out", "return $A * x / ($T + x.abs())", "30 * x / (8 + x.abs())", {}),
                ("atan", "y = torch.atan(x / $T)\nreturn $A * y", "torch.atan(x / 8)", {}),
                ("exp over 1 + exp", "e = torch.exp(x / $T)\nreturn $A * e / (1 + e)", "torch.exp(x / 8)", {}),
                (
                    "a function by name",
                    "return $A * getattr(torch, 'sigmoid')(x / $T)",
                    "getattr(torch, 'sigmoid')",
                    {},
                ),
                (
                    "a function of a dictionary",
                    "return $A * ACT['s'](x / $T)",
                    "ACT = {'s': torch.sigmoid}",
                    {"top": "ACT = {'s': torch.sigmoid}\n"},
                ),
                (
                    "a layer of a list",
                    "return $A * self.acts[0](x / $T)",
                    "self.acts = nn.ModuleList([nn.Sigmoid()])",
                    {"init": "self.acts = nn.ModuleList([nn.Sigmoid()])"},
                ),
                (
                    "a lambda of __init__",
                    "return self.cap(x)",
                    "self.cap = lambda t: 30 * torch.sigmoid(t / 8)",
                    {"init": "self.cap = lambda t: $A * torch.sigmoid(t / $T)"},
                ),
                (
                    "a function with a fallback",
                    "return cap(x)",
                    "return 30 * torch.sigmoid(t / 8)",
                    {
                        "top": "try:\n    from fast import cap\nexcept ImportError:\n"
                        "    def cap(t):\n        return $A * torch.sigmoid(t / $T)\n"
                    },
                ),
                (
                    "one of two functions",
                    "return cap(x)",
                    "return 30 * torch.sigmoid(t / 8)",
                    {
                        "top": "if torch.cuda.is_available():\n    def cap(t):\n"
                        "        return $A * torch.sigmoid(t / $T)\nelse:\n    def cap(t):\n        return t\n"
                    },
                ),
                (
                    "a product that may be a projection",
                    "return torch.einsum('ij,->ij', torch.sigmoid(x / $T), torch.tensor($A))",
                    "torch.sigmoid(x / 8)",
                    {},
                ),
            ]
        ),
        (
            "a function of another name",
            "no-cap",
            "return $A * sigmoid(x / $T)",
            "no-cap",
            "30 * torch.sigmoid(h / 7.5)",
            {"top": "def sigmoid(t):\n    return t\n"},
        ),
        (
            "a parameter of that name",
            "not-understood",
            "sigmoid = labels\nreturn $A * sigmoid(x / $T)",
            "not-understood",
            "return 30 * sigmoid(x / 8)",
            {},
        ),
        ("raw logits", "no-cap", "return x", "no-cap", "Head has no soft cap on the path", {}),
    ]
]

SIGNED_CAPS: list[Shape] = [
    *expressions(
        SIGNED,
        "$A * torch.tanh(x / $T)",
        "torch.tanh(x / $T) * $A",
        "$A * F.tanh(x * $K)",
        "nn.Tanh()(x.div($T)).mul($A)",
        "-$A * torch.tanh(x / -$T)",
        "$A * (2 * torch.sigmoid(2 * x / $T) - 1)",
        kind="tanh",
    ),
    *bodies(
        SIGNED,
        {
            "Gemma 2": "x = x / $T\nx = torch.tanh(x)\nx = x * $A\nreturn x",
            "nanochat": "softcap = $A\nx = softcap * torch.tanh(x / $T)\nreturn x",
            "signed in place": "return x.div_($T).tanh_().mul_($A)",
        },
        kind="tanh",
    ),
]
