"""Small models that compute tensors while they are built, each in another form.

A model is the code of `TEMPLATE` with other lines in its module with tables, around it, or where it is built. The class
built directly says what a loaded one has to hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent, indent
from typing import Any

from hypothesis import strategies as st

TEMPLATE = """\
import functools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel


class TinyConfig(PretrainedConfig):
    model_type = "tiny"

    def __init__(self, vocab_size=11, hidden_size=8, positions=6, base=10_000.0, **kwargs):
        super().__init__(**kwargs)
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        self.positions, self.base = positions, base


def angles(dim, n, base=10_000.0):
    return torch.outer(torch.arange(n).float(), base ** (-torch.arange(dim).float() / dim))


{top}


class Rot(nn.Module):
    def __init__({arguments}):
        super().__init__()
{init}
{methods}
    def forward(self, x):
{forward}


{below}


class TinyPreTrainedModel({bases}):
    config_class = TinyConfig
    base_model_prefix = "model"

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            module.weight.data.normal_(std=0.02)
{weights}


class TinyModel(TinyPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.proj = nn.Linear(config.hidden_size, 3)
{build}
        self.post_init()

    def get_input_embeddings(self):
        return self.embed

    def set_input_embeddings(self, value):
        self.embed = value

    def forward(self, input_ids):
        x = self.embed(input_ids)
{run}
        return self.proj(x.to(self.proj.weight.dtype))
"""
BUFFERS = """\
self.register_buffer("cos", angle.cos(), persistent=False)
self.register_buffer("sin", angle.sin(), persistent=False)
"""
ANGLE = "angle = angles(dim, n, base)\n"
FORWARD = "return x * self.cos[: x.size(-2)] + self.sin[: x.size(-2)]"
BUILD = "self.rot = Rot(config.hidden_size, config.positions, config.base)"
CACHED = """\
def cached(dim, n, base):
    angle = angles(dim, n, base)
    return angle.cos(), angle.sin()
"""
TABLE = 'self.register_buffer("table", table, persistent=False)'
EMPTY = 'self.register_buffer("table", torch.empty(n, dim), persistent=False)'
ADD = "return x + self.table"
PLUS = "return x + self.table[: x.size(-2)]"


@dataclass(frozen=True)
class Table:
    """The lines in which a model differs from the others, by their place in the template.

    `refused` is the name of the refusal of a model that can't be repaired, `needless` marks one that needs nothing, and
    `wrong_on_4` one that transformers 4.57 itself does not load as its constructor makes it, repaired or not.
    """

    name: str
    init: str = ANGLE + BUFFERS
    top: str = ""
    arguments: str = "self, dim, n, base=10_000.0"
    methods: str = ""
    forward: str = FORWARD
    below: str = ""
    bases: str = "PreTrainedModel"
    weights: str = ""
    build: str = BUILD
    run: str = "x = self.rot(x)"
    refused: str | None = None
    needless: bool = False
    wrong_on_4: bool = False

    def code(self) -> str:
        """The code of the model."""
        return TEMPLATE.format(
            top=_indented(self.top, 0),
            arguments=self.arguments,
            init=_indented(self.init, 8),
            methods=_indented(self.methods, 4),
            forward=_indented(self.forward, 8),
            below=_indented(self.below, 0),
            bases=self.bases,
            weights=_indented(self.weights, 8),
            build=_indented(self.build, 8),
            run=_indented(self.run, 8),
        )


def _indented(code: str, width: int) -> str:
    return indent(dedent(code).strip("\n"), " " * width)


def _one(name: str, value: str, **more: Any) -> Table:
    """A model with one table, which is added to its input."""
    init = f'self.register_buffer("table", {value}, persistent=False)'
    return Table(name, **{"init": init, "forward": PLUS, **more})


_REGISTERED = [
    Table("registered by keyword"),
    Table("registered by position", ANGLE + BUFFERS.replace("persistent=", "")),
    Table(
        "a buffer object",
        ANGLE
        + "self.cos = nn.Buffer(angle.cos(), persistent=False)\nself.sin = nn.Buffer(angle.sin(), persistent=False)",
    ),
    Table("persistent from a variable", "keep = bool(dim % 2)\n" + ANGLE + BUFFERS.replace("=False", "=keep")),
    Table(
        "persistent from keywords",
        "how = {'persistent': False}\n" + ANGLE + BUFFERS.replace("persistent=False", "**how"),
    ),
    Table(
        "registered through another name",
        "add = self.register_buffer\n" + ANGLE + BUFFERS.replace("self.register_buffer", "add"),
    ),
    Table(
        "registered in a loop",
        ANGLE + 'for name in ("cos", "sin"):\n    self.register_buffer(name, getattr(angle, name)(), persistent=False)',
    ),
    Table(
        "registered in a method",
        "self.make_tables(dim, n, base)",
        methods="def make_tables(self, dim, n, base):\n" + _indented(ANGLE + BUFFERS, 4),
    ),
    Table(
        "registered by a function",
        "fill(self, angles(dim, n, base))",
        top="def fill(self, angle):\n" + _indented(BUFFERS, 4),
    ),
    Table(
        "registered from outside",
        "pass",
        build=BUILD + "\nangle = angles(8, 6)\n" + BUFFERS.replace("self.", "self.rot."),
    ),
    Table(
        "written to the dictionary of buffers",
        ANGLE
        + 'self._buffers.update({"cos": angle.cos(), "sin": angle.sin()})\n'
        + 'self._non_persistent_buffers_set.update(("cos", "sin"))',
    ),
    Table(
        "in the model itself",
        "pass",
        forward="return x",
        build=BUILD + "\ndim, n, base = 8, 6, 50.0\n" + ANGLE + BUFFERS,
        run="x = x * self.cos[:4] + self.sin[:4]",
    ),
    Table(
        "a scalar beside it",
        ANGLE + BUFFERS + 'self.register_buffer("scale", torch.tensor(0.125), persistent=False)',
        forward=FORWARD + " * self.scale",
    ),
    Table("a buffer of None beside it", ANGLE + BUFFERS + 'self.register_buffer("cache", None, persistent=False)'),
]
_INHERITED = [
    Table(
        "a subclass with a base of its own",
        below="""
        class GlobalRot(Rot):
            def __init__(self, config):
                super().__init__(config.hidden_size, config.positions, base=160_000.0)
        """,
        build="self.rot = GlobalRot(config)\nself.other = Rot(8, 6, 40.0)",
        run="x = self.other(self.rot(x))",
    ),
    Table(
        "arguments behind a star",
        arguments="self, *sizes, base=10_000.0",
        init="dim, n, *_ = sizes\n" + ANGLE + BUFFERS,
    ),
    Table("keywords behind stars", arguments="self, dim, n, base, **more"),
    Table("positional arguments only", arguments="self, dim, n, base, /"),
    Table(
        "super by name",
        below="class Half(Rot):\n    def __init__(self, dim, n, base):\n        Rot.__init__(self, dim, n, base / 2)",
        build="self.rot = Half(8, 6, 90.0)",
    ),
    Table("a class without __init__", below="class Same(Rot):\n    pass", build="self.rot = Same(8, 6, 30.0)"),
    Table("a mixin before the model", top="class Extra:\n    extra = 1", bases="Extra, PreTrainedModel"),
    Table(
        "in a list of modules",
        build="self.rot = nn.ModuleList(Rot(8, 6, 10.0 ** i) for i in range(1, 4))",
        run="for rot in self.rot:\n    x = rot(x)",
    ),
    Table("one module in two places", build=BUILD + "\nself.again = self.rot", run="x = self.again(self.rot(x))"),
]
_SAVED = [
    Table(
        "a saved buffer beside it",
        ANGLE + BUFFERS + 'self.register_buffer("mean", torch.zeros(dim))',
        forward=FORWARD + " + self.mean",
    ),
    Table(
        "a saved buffer of integers beside it",
        ANGLE + BUFFERS + 'self.register_buffer("steps", torch.tensor([3]))',
        forward=FORWARD + " * self.steps",
    ),
    Table(
        "a parameter beside it",
        ANGLE + BUFFERS + "self.gain = nn.Parameter(torch.ones(dim))",
        forward=FORWARD + " * self.gain",
    ),
    Table(
        "a saved buffer alone",
        'self.register_buffer("mean", torch.zeros(dim))',
        forward="return x + self.mean",
        needless=True,
    ),
    Table(
        "parameters alone",
        "self.gain = nn.Parameter(torch.ones(dim))\nself.more = nn.ParameterList([torch.zeros(dim)])",
        forward="return x * self.gain + self.more[0]",
        needless=True,
    ),
    Table(
        "a computed buffer made of a saved one",
        'self.register_buffer("mean", torch.arange(dim) / 7)\n'
        + 'self.register_buffer("twice", self.mean * 2, persistent=False)',
        forward="return x + self.twice + self.mean",
    ),
    Table(
        "an attribute made of a saved buffer",
        'self.register_buffer("mean", torch.arange(dim) / 7)\nself.twice = self.mean * 2',
        forward="return x + self.twice + self.mean",
    ),
    Table(
        "a view of a parameter that is kept",
        "gain = nn.Parameter(torch.ones(n, dim))\nself.count = len(gain[0])\nfirst = gain[0]\nself.gain = gain\n"
        + ANGLE
        + BUFFERS,
        forward=FORWARD + " * self.gain[0]",
    ),
    Table("tensors in forward alone", "self.dim = dim", forward="return x + torch.arange(self.dim)", needless=True),
]
_FUNCTIONS = [
    Table(
        "a cached function",
        "cos, sin = cached(dim, n, base)\nangle = None\n"
        + BUFFERS.replace("angle.cos()", "cos").replace("angle.sin()", "sin"),
        top="@functools.lru_cache\n" + CACHED,
        build="self.rot, self.again = Rot(8, 6), Rot(8, 6)",
        run="x = self.again(self.rot(x))",
    ),
    Table(
        "a cached function, as attributes",
        "self.cos, self.sin = cached(dim, n, base)",
        top="@functools.cache\n" + CACHED,
    ),
    Table(
        "a cache in a dictionary",
        ANGLE + "angle = _CACHE.setdefault((dim, n), angle)\n" + BUFFERS,
        top="_CACHE = {}",
        build="self.rot, self.again = Rot(8, 6), Rot(8, 6)",
        run="x = self.again(self.rot(x))",
    ),
    Table(
        "made once for the class",
        "angle = self.angle()\n" + BUFFERS,
        methods="@classmethod\ndef angle(cls):\n    return angles(8, 6, 20.0)\n",
    ),
    Table(
        "made outside and passed in",
        'self.register_buffer("cos", cos, persistent=False)\nself.register_buffer("sin", sin, persistent=False)',
        arguments="self, cos, sin",
        build="""
        cos, sin = angles(8, 6).cos(), angles(8, 6).sin()
        self.rot = nn.ModuleList([Rot(cos, sin), Rot(cos, sin)])
        """,
        run="for rot in self.rot:\n    x = rot(x)",
    ),
    Table(
        "made outside and passed in, as attributes",
        "self.cos, self.sin = cos, sin",
        arguments="self, cos, sin",
        build="angle = angles(8, 6)\nself.rot = Rot(angle.cos(), angle.sin())",
    ),
    Table("made at the top of the file", "angle = ANGLE\n" + BUFFERS, top="ANGLE = angles(8, 6, 33.0)"),
    Table(
        "changed after construction",
        build=BUILD + "\nself.rot.cos *= 2\nself.rot.sin = self.rot.sin + 1\nself.rot.cos[0] = 5",
    ),
    Table(
        "changed in a method",
        methods="def post(self):\n    self.cos = self.cos * 3\n",
        init=ANGLE + BUFFERS + "self.post()",
    ),
]
_VALUES = [
    _one("the default dtype", "torch.outer(torch.arange(n) * 1.0, 1e4 ** (-torch.arange(dim) / dim)).cos()"),
    _one("linspace", "torch.linspace(0, 1, dim).repeat(n, 1)"),
    _one("logspace", "torch.logspace(0, -4, dim).expand(n, dim)"),
    _one("numbers of a tensor", "torch.full((n, dim), sum(x.item() for x in torch.arange(3)) / 7)"),
    _one("a list of numbers", "torch.tensor([[i / (j + 1) for j in range(dim)] for i in range(n)])"),
    _one("numpy", "torch.from_numpy(np.sin(np.outer(np.arange(n), np.arange(dim)))).float()"),
    _one("float64", "angles(dim, n).double().sin()", forward="return x + self.table[: x.size(-2)].to(x.dtype)"),
    _one("float16", "angles(dim, n).half()", forward="return x + self.table[: x.size(-2)].to(x.dtype)"),
    _one(
        "complex numbers",
        "torch.polar(torch.ones(n, dim, dtype=torch.float32), angles(dim, n))",
        forward="return x + torch.real(self.table)[: x.size(-2)].to(x.dtype)",
    ),
    _one("integers", "torch.arange(n * dim).view(n, dim)"),
    _one(
        "a mask",
        "torch.ones(n, dim, dtype=torch.bool).tril()",
        forward="return x.masked_fill(self.table[: x.size(-2)], 0.5)",
    ),
    _one("a view", "angles(dim * 2, n)[:, ::2]"),
    _one("made by torch.nn.init", "nn.init.constant_(torch.empty(n, dim), 0.3)", wrong_on_4=True),
    _one("a device by name", "torch.arange(n * dim, device='cpu').view(n, dim) / 50"),
    _one(
        "a block of its own device",
        "table",
        init="with torch.device('cpu'):\n    table = torch.arange(n * dim).view(n, dim) / 50\n" + TABLE,
    ),
    _one(
        "computed without gradients",
        "table",
        init="with torch.no_grad():\n    table = angles(dim, n) * 2\n" + TABLE,
    ),
    _one("one-hot", "F.one_hot(torch.arange(n), dim).float()"),
]
_ATTRIBUTES = [
    Table("a plain attribute", ANGLE + "self.cos, self.sin = angle.cos(), angle.sin()"),
    Table(
        "a list of tensors",
        ANGLE + "self.tables = [angle.cos(), angle.sin()]",
        forward="return x * self.tables[0][: x.size(-2)] + self.tables[1][: x.size(-2)]",
    ),
    Table(
        "a dictionary of tensors",
        ANGLE + "self.tables = {'cos': angle.cos()}",
        forward="return x * self.tables['cos'][: x.size(-2)]",
    ),
    Table(
        "a default of a dataclass",
        "self.helper = Helper()",
        top="import dataclasses\n\n\n@dataclasses.dataclass\nclass Helper:\n"
        + "    cos: object = dataclasses.field(default_factory=lambda: angles(8, 6).cos())",
        forward="return x * self.helper.cos[: x.size(-2)]",
    ),
    Table(
        "in an object that is no module",
        "self.helper = Helper(dim, n, base)",
        top="class Helper:\n    def __init__(self, dim, n, base):\n        self.cos = angles(dim, n, base).cos()",
        forward="return x * self.helper.cos[: x.size(-2)]",
    ),
    Table(
        "made by a special method",
        "with Angles()[dim, n] as angle:\n    self.cos, self.sin = angle.cos(), angle.sin()",
        top="""
        class Angles:
            def __getitem__(self, sizes):
                self.sizes = sizes
                return self

            def __enter__(self):
                return angles(*self.sizes)

            def __exit__(self, *error):
                pass
        """,
    ),
    Table(
        "made by a descriptor",
        "self.table = dim, n",
        top="""
        class Described:
            def __set__(self, module, sizes):
                module.register_buffer("made", angles(*sizes), persistent=False)

            def __get__(self, module, kind=None):
                return module.made
        """,
        methods="table = Described()\n",
        forward=PLUS,
    ),
    Table(
        "made by a lambda that a dictionary holds",
        "self.cos, self.sin = MAKERS['both'](angles(dim, n, base))",
        top="MAKERS = {'both': lambda angle: (angle.cos(), angle.sin())}",
    ),
    Table("torch by another name", "self.table = library.arange(dim) / 7", top="library = torch", forward=ADD),
    Table("a function by its name", "self.table = getattr(torch, 'arange')(dim) / 7", forward=ADD),
    Table(
        "embeddings of the library",
        "pass",
        top="from transformers import BertConfig\nfrom transformers.models.bert.modeling_bert import BertEmbeddings",
        build="self.rot = BertEmbeddings(BertConfig(vocab_size=11, hidden_size=8, hidden_dropout_prob=0))",
        run="x = x + self.rot(input_ids)",
    ),
    Table("an attribute and a buffer", ANGLE + "self.cos = angle.cos()\n" + BUFFERS.splitlines()[1]),
    Table("an alias of a buffer", ANGLE + BUFFERS + "self.pair = (self.cos, self.sin)"),
]
_INIT_WEIGHTS = [
    Table("an _init_weights that names the class", weights="if isinstance(module, Rot):\n    pass"),
    Table(
        "an _init_weights that fills it",
        EMPTY,
        forward=PLUS,
        weights="if isinstance(module, Rot):\n    module.table.copy_(angles(8, 6))",
    ),
    Table(
        "an _init_weights that fills it, in the default dtype",
        EMPTY,
        forward=PLUS,
        weights="""
        if isinstance(module, Rot):
            module.table.copy_(torch.outer(torch.arange(6) / 7, torch.arange(8) / 3).cos())
        """,
        wrong_on_4=True,
    ),
    Table(
        "an _init_weights that writes a parameter beside it",
        ANGLE + BUFFERS + "self.gain = nn.Parameter(torch.ones(dim))",
        forward=FORWARD + " * self.gain",
        weights="if isinstance(module, Rot):\n    module.gain.data.fill_(1.0)",
    ),
    Table(
        "an _init_weights that writes both",
        ANGLE + BUFFERS + "self.gain = nn.Parameter(torch.ones(dim))",
        forward=FORWARD + " * self.gain",
        weights="if isinstance(module, Rot):\n    module.gain.data.fill_(1.0)\n    module.cos.fill_(0.5)",
    ),
    Table(
        "an _init_weights of another base class",
        below="""
        class Other(PreTrainedModel):
            config_class = TinyConfig

            def _init_weights(self, module):
                if isinstance(module, Rot):
                    module.cos.fill_(9.0)
        """,
    ),
    Table("an _init_weights that calls the library's", weights="super()._init_weights(module)"),
    Table(
        "an _init_weights that fills the buffer of a module below",
        build=BUILD + "\nself.own = nn.Parameter(torch.ones(8))",
        weights="if isinstance(module, TinyModel):\n    module.rot.cos.fill_(9.0)",
    ),
    Table(
        "a model inside of the model",
        build="self.rot = Inner(config)",
        top="""
        class Inner(PreTrainedModel):
            config_class = TinyConfig

            def __init__(self, config):
                super().__init__(config)
                self.gain = nn.Parameter(torch.ones(8))
                self.register_buffer("table", torch.zeros(6, 8), persistent=False)
                self.post_init()

            def _init_weights(self, module):
                if isinstance(module, Inner):
                    module.gain.data.fill_(1.0)
                    module.table.fill_(0.25)

            def forward(self, x):
                return x * self.gain + self.table[: x.size(-2)]
        """,
    ),
]
_REFUSED: dict[str, Any] = {"methods": "layer = nn.Linear(2, 2)\n", "refused": "table-from-parameter"}
_FROM_PARAMETERS = [
    _one("on the device of a layer", "torch.arange(dim, device=self.layer.weight.device)", **_REFUSED),
    _one("on the device of the first parameter", "torch.ones(dim, device=next(self.parameters()).device)", **_REFUSED),
    _one("like a parameter", "torch.ones_like(self.layer.weight)", **_REFUSED),
    _one("new from a parameter", "self.layer.bias.new_ones(dim)", **_REFUSED),
    _one("a copy of a parameter", "self.layer.weight.detach().clone()", **_REFUSED),
    Table(
        "an attribute like a parameter",
        "self.gain = nn.Parameter(torch.ones(dim))\nself.table = torch.ones_like(self.gain)",
        refused="table-from-parameter",
    ),
    Table(
        "a variable from a parameter",
        "self.gain = nn.Parameter(torch.ones(dim))\ntable = self.gain * 2\n" + TABLE,
        refused="table-from-parameter",
    ),
    Table(
        "in a method, on the device of a parameter",
        "self.layer = nn.Linear(dim, dim)\nself.fill(dim, n, base)",
        methods="""
        def fill(self, dim, n, base, device=None):
            if device is None:
                device = self.layer.weight.device
            cos, sin = self.pair(n, device)
            self.cos, self.sin = cos, sin

        def pair(self, n, device):
            angle = torch.arange(n, device=device)[:, None] / 7
            return angle.cos(), angle.sin()
        """,
        refused="table-from-parameter",
    ),
    _one(
        "on the device that a function finds",
        "torch.arange(dim, device=place_of(self.layer))",
        top="def place_of(layer):\n    return next(layer.parameters()).device",
        **_REFUSED,
    ),
    _one(
        "on the device of a property",
        "torch.arange(dim, device=self.place)",
        **_REFUSED | {"methods": "@property\ndef place(self):\n    return self.layer.weight.device\n"},
    ),
    Table(
        "a product of a parameter",
        "self.layer = nn.Linear(2, 2)\nself.twice = self.layer.weight * 2\n" + ANGLE + BUFFERS,
        refused="table-from-parameter",
    ),
    Table(
        "numbers of parameters beside it",
        "self.layer = nn.Linear(dim, dim)\nself.size = sum(one.numel() for one in self.parameters()) * 2\n"
        + "self.width = width_of(self.layer.weight) * 2\nweight = self.layer.weight\nself.same = weight\n"
        + ANGLE
        + BUFFERS,
        top="def width_of(weight):\n    return weight.shape[0]",
    ),
    Table(
        "of the shape and dtype of a parameter",
        "self.gain = nn.Parameter(torch.ones(n, dim))\ntable = torch.ones(self.gain.shape, dtype=self.gain.dtype)\n"
        + TABLE,
        forward=PLUS,
    ),
    Table(
        "from a number by the name of a parameter of another class",
        "self.scale = 1 / dim\ntable = torch.arange(dim) * self.scale\n" + TABLE,
        top="class Scale(nn.Module):\n    def __init__(self):\n        self.scale = nn.Parameter(torch.ones(1))",
        forward="return x + self.table",
    ),
    Table(
        "a buffer by the name of a parameter",
        'self.register_buffer("bias", torch.ones(n, dim).tril(), persistent=False)\n'
        + "self.table = torch.zeros_like(self.bias)",
        forward="return x + self.bias[: x.size(-2)] + self.table[: x.size(-2)]",
    ),
]
TABLES = [*_REGISTERED, *_INHERITED, *_SAVED, *_FUNCTIONS, *_VALUES, *_ATTRIBUTES, *_INIT_WEIGHTS, *_FROM_PARAMETERS]
REPAIRED = [table for table in TABLES if not table.needless and table.refused is None]

VALUES = (
    "angles(dim, n, base).cos()",
    "torch.linspace(-1, 1, n * dim).view(n, dim)",
    "torch.outer(torch.arange(n) / 7, torch.arange(dim) / 3).sin()",
    "torch.tensor([[i * j % 5 - 0.1 for j in range(dim)] for i in range(n)])",
    "torch.full((n, dim), sum(x.item() for x in torch.arange(4)) / 8)",
    "torch.ones(n, dim).tril() * base",
    "torch.arange(n * dim).view(n, dim)",
)
# How a table is kept: the lines in `__init__`, and how `forward` reads it.
KEPT = (
    ('self.register_buffer("table", table, persistent=False)', "self.table"),
    ('self.register_buffer("table", table, False)', "self.table"),
    ('keep = dim < 0\nself.register_buffer("table", table, persistent=keep)', "self.table"),
    ("self.table = nn.Buffer(table, persistent=False)", "self.table"),
    ("self.table = table", "self.table"),
    ('self.tables = {"one": [table]}', 'self.tables["one"][0]'),
    ('self.register_buffer("table", table)', "self.table"),
)
# Where it is computed: what stands at the top of the file, and the expression in `__init__`.
MADE = (
    ("", "{}"),
    ("def make(dim, n, base):\n    return {}", "make(dim, n, base)"),
    ("@functools.lru_cache\ndef make(dim, n, base):\n    return {}", "make(dim, n, base)"),
    ("class Maker:\n    def __init__(self, dim, n, base):\n        self.made = {}", "Maker(dim, n, base).made"),
)
BESIDE = (
    "",
    'self.register_buffer("mean", torch.zeros(dim))',
    "self.gain = nn.Parameter(torch.zeros(dim))",
    'self.register_buffer("cache", None, persistent=False)',
)
CHANGED = (
    "",
    "self.rot.extra = torch.arange(3) / 7",
    # not in place: what is cached would be another table for each model that is built
    "for one in self.rot.modules():\n"
    "    one._buffers.update({key: old + 1 for key, old in one.named_buffers(recurse=False)})",
)
WEIGHTS = (
    "",
    "if isinstance(module, Rot):\n    pass",
    "for parameter in module.parameters(recurse=False):\n    parameter.data.fill_(0.5)",
    "super()._init_weights(module)",
)
BUILT = (BUILD, "self.rot = Half(8, 6, 50.0)", "self.rot = nn.Sequential(Rot(8, 6), Half(8, 6, 3.0))")


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """A model at random: what its table holds, where it is made, how it is kept, and what is around it."""
    top, made = draw(st.sampled_from(MADE))
    kept, read = draw(st.sampled_from(KEPT))
    value, beside = draw(st.sampled_from(VALUES)), draw(st.sampled_from(BESIDE))
    build = draw(st.sampled_from(BUILT))
    changed = draw(st.sampled_from(CHANGED))
    return Table(
        "at random",
        init=f"{beside}\ntable = {made.format(value)}\n{kept}",
        top=top.format(value),
        forward=f"return x + {read}[: x.size(-2)]",
        below="class Half(Rot):\n    def __init__(self, dim, n, base):\n        super().__init__(dim, n, base / 2)",
        build=f"{build}\n{changed}",
        weights=draw(st.sampled_from(WEIGHTS)),
    )
