"""Which code may compute tensors while a model is built."""

from __future__ import annotations

import pytest

from patcher.codemods.code import Code
from patcher.codemods.tensors import computes_tensors

MODULE = (
    "import torch\nfrom torch import nn\n{top}\nclass Rot(nn.Module):\n    def __init__(self, dim):\n        {line}\n"
)


def computes(line: str, top: str = "", rest: str = "") -> bool:
    return computes_tensors([Code("modeling.py", (MODULE.format(line=line, top=top) + rest).encode(), {})])


@pytest.mark.parametrize(
    "line",
    [
        "self.register_buffer('x', make(dim), persistent=False)",
        "self.register_buffer('x', make(dim), False)",
        "self.register_buffer('x', make(dim), persistent=dim > 3)",
        "self.register_buffer(*names, make(dim))",
        "self.register_buffer('x', make(dim), **how)",
        "add = self.register_buffer",
        "self.x = nn.Buffer(make(dim), persistent=False)",
        "self.x = torch.arange(dim)",
        "self.x = weight.new_zeros(dim)",
        "self.x = [torch.tensor(1.0)]",
    ],
)
def test_tables_are_seen(line: str) -> None:
    assert computes(line)


@pytest.mark.parametrize(
    "line",
    [
        "self.register_buffer('x', torch.zeros(dim))",
        "self.register_buffer('x', torch.zeros(dim), True)",
        "self.register_buffer(name='x', tensor=torch.zeros(dim), persistent=True)",
        "self.x = nn.Buffer(torch.zeros(dim))",
        "self.x = nn.Parameter(torch.zeros(dim))",
        "self.register_parameter('x', nn.Parameter(torch.zeros(dim)))",
        "self.x = nn.ParameterList([torch.zeros(dim)])",
        "self.x = torch.nn.Linear(dim, dim)",
        "self.x = torch.finfo(torch.float32).min if torch.cuda.is_available() else torch.get_default_dtype()",
        "from .layers import Filterbank; self.x = Filterbank(dim)",
        "self.x = math.sqrt(len(transformers.__version__))",
        "self.x = np.arange(dim)",
        "pass",
    ],
)
def test_parameters_and_saved_buffers_are_none(line: str) -> None:
    assert not computes(line)


@pytest.mark.parametrize(
    ("line", "top", "rest"),
    [
        ("self.x = make(dim)", "def make(dim):\n    return torch.arange(dim)", ""),
        (
            "self.x = make(dim)",
            "def make(dim):\n    return deeper(dim)\ndef deeper(dim):\n    return torch.arange(dim)",
            "",
        ),
        ("self.x = arange(dim)", "from torch import arange", ""),
        ("self.x = t.arange(dim)", "import torch as t", ""),
        ("from torch import arange as make; self.x = make(dim)", "", ""),
        ("self.reset(dim)", "", "    def reset(self, dim):\n        self.x = torch.arange(dim)\n"),
        ("self.x = self.table", "", "    @property\n    def table(self):\n        return torch.arange(5)\n"),
        ("self.register_buffer('x', torch.zeros(dim)); self.y = self.x * 2", "", ""),
        ("self.x = nn.Buffer(torch.zeros(dim)); self.y = [self.x]", "", ""),
        ("self.x = map(make, dim)", "def make(dim):\n    return torch.arange(dim)", ""),
        ("self.x = RotaryEmbedding(dim)", "from flash_attn.layers.rotary import RotaryEmbedding", ""),
        ("self.x = Make()[dim]", "class Make:\n    def __getitem__(self, dim):\n        return torch.arange(dim)", ""),
        ("self.x = make(dim)", "make = lambda dim: torch.arange(dim)", ""),
        ("self.x = MAKERS[0](dim)", "def make(dim):\n    return torch.arange(dim)\nMAKERS, OTHER = [make], 1", ""),
        ("self.x = Make.table(dim)", "class Make:\n    table: object = torch.arange", ""),
        ("self.x = t.arange(dim)", "t = torch", ""),
        ("self.x = getattr(torch, 'arange')(dim)", "", ""),
        ("self.x = Filterbank(dim)", "from audio.filters import Filterbank", ""),
        ("self.x = filters.bank(dim)", "from audio import filters", ""),
        ("self.x = BertEmbeddings(dim)", "from transformers.models.bert.modeling_bert import BertEmbeddings", ""),
        (
            "self.x = Mine(dim)",
            "from transformers.models.bert.modeling_bert import BertEmbeddings\nclass Mine(BertEmbeddings):\n    pass",
            "",
        ),
        ("self.x = Rope(dim)", "from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding as Rope", ""),
    ],
)
def test_tables_are_seen_wherever_they_are_made(line: str, top: str, rest: str) -> None:
    assert computes(line, top, rest)


def test_what_only_forward_computes_is_none() -> None:
    assert not computes("pass", "", "    def forward(self, x):\n        return x + torch.arange(3)\n")


def test_a_file_with_newer_syntax_may_compute_anything() -> None:
    assert computes("pass", "type Mask = torch.Tensor")
