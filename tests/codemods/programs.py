"""Makes heads at random from the table of shapes, and runs their code as a package of modules in memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import indent
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from hypothesis import strategies as st

from tests.codemods.shapes import HOME, Shape

# Where an expression may stand; each returns the logits.
PLACES = (
    "x = {}\nreturn x",
    "y = {}\nreturn y",
    "y: Tensor = {}\nreturn y",
    "return {}",
    "return Output(logits={})",
    "return Output({})",
    'return {{"logits": {}, "loss": None}}',
    "return ({},)",
    "logits = {}\nloss = None\nreturn Output(loss=loss, logits=logits)",
    "x = {} if self.capped else x\nreturn x",
    "if self.capped:\n    x = {}\nreturn x",
    "return torch.clone({})",
    "x = ({})\nx = x[..., :].to(h.dtype)\nreturn x",
    "out = Output()\nout.logits = {}\nreturn out",
    "return (y := {})",
    "x = self.decoder(h); x = {}; return x",
)
# What may stand before it, to be left alone: none of it changes which map the logits go through last.
BESIDE = (
    "gate = torch.sigmoid(h)",
    "silu = h * torch.sigmoid(h)",
    "# x = 30 * torch.sigmoid(x / 7.5)",
    '"""x = 30 * torch.sigmoid(x / 7.5)"""',
    "penalty = 30 * torch.sigmoid(h.mean() / 7.5)",
    "if labels is not None:\n    penalty = F.binary_cross_entropy(torch.sigmoid(h), labels)",
    "x = x + 0.25",
    "x = x.double()",
    "x = F.gelu(x)",
    "x = x * torch.sigmoid(x.mean()) + 0.5",
    "x = torch.tanh(h).mean() - x",
    "with torch.no_grad():\n    spread = torch.tanh(x).std()",
    "for _ in range(2):\n    silu = torch.tanh(h)",
    "def inner(t):\n    return 30 * torch.sigmoid(t / 7.5)",
    "",
)
ABOVE = (
    "",
    "def unused(x):\n    return 30 * torch.sigmoid(x / 7.5)\n",
    "class Gate(nn.Module):\n    def forward(self, x):\n        return 30 * torch.sigmoid(x / 7.5) * x\n",
    "SCALE_OF_ANOTHER, T_OF_ANOTHER = 30, 7.5  # scale * torch.sigmoid(x / T)\n",
)
AROUND = ("{}", "if True:\n{}", "with torch.no_grad():\n{}", "try:\n{}\nfinally:\n    pass")


@dataclass(frozen=True)
class Program:
    """A head with its numbers, as files by path, and a seed for its weights and inputs."""

    shape: Shape
    scale: float
    temperature: float
    files: Mapping[str, str]
    seed: int

    @property
    def settings(self) -> dict[str, Any]:
        return self.shape.settings(self.scale, self.temperature)

    def __repr__(self) -> str:
        return f"{self.shape.name} (seed {self.seed})\n" + "\n".join(f"# {p}\n{code}" for p, code in self.files.items())


NUMBERS = st.one_of(
    st.integers(1, 500),
    st.floats(0.01, 500).map(lambda value: round(value, 3)),
    st.floats(0.01, 500),
)


@st.composite
def programs(draw: st.DrawFn, shape: Shape) -> Program:
    """A shape with random numbers, in a random place, with random code around it."""
    scale, temperature = draw(NUMBERS), draw(NUMBERS)
    body = shape.body or draw(st.sampled_from(PLACES)).format(shape.expression)
    around = draw(st.sampled_from(AROUND))
    body = body.rstrip("\n") if around == "{}" else around.format(indent(body.rstrip("\n"), "    "))
    before = draw(st.lists(st.sampled_from(BESIDE), max_size=3))
    files = shape.package(scale, temperature, "\n".join([*before, body]), draw(st.sampled_from(ABOVE)))
    return Program(shape, scale, temperature, files, draw(st.integers(0, 2**16)))


@contextmanager
def loaded(files: Mapping[str, str]) -> Iterator[ModuleType]:
    """The module of HOME, executed as one of a package `generated` that is gone afterwards."""
    made: list[str] = []
    try:
        for path, code in files.items():
            parts = ["generated", *path.removesuffix(".py").split("/")]
            for end in range(1, len(parts) + 1):
                name = ".".join(parts[:end])
                if name not in sys.modules:
                    module = sys.modules[name] = ModuleType(name)
                    made.append(name)
                    if end < len(parts):
                        module.__path__ = []
                    if end > 1:
                        setattr(sys.modules[".".join(parts[: end - 1])], parts[end - 1], module)
            module = sys.modules[".".join(parts)]
            module.__package__ = ".".join(parts[:-1])
            exec(compile(code, path, "exec"), module.__dict__)
        yield sys.modules[f"generated.{HOME.removesuffix('.py')}"]
    finally:
        for name in made:
            del sys.modules[name]


def configuration(settings: Mapping[str, Any]) -> SimpleNamespace:
    return SimpleNamespace(
        **{key: configuration(value) if isinstance(value, dict) else value for key, value in settings.items()}
    )


def logits_of(output: Any) -> torch.Tensor:
    """The logits of any form of output: the item of two dimensions where it is a tuple."""
    if isinstance(output, tuple):
        return next(item for item in output if torch.is_tensor(item) and item.ndim == 2)
    return (
        output["logits"]
        if isinstance(output, dict) and not hasattr(output, "logits")
        else (output if torch.is_tensor(output) else output.logits)
    )
