"""Models whose head 4.57 ties to the embedding, or not: what is written, and tiny modules that both versions run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.codemods.configurations import Configuration

MAPPING = '_tied_weights_keys = {"head.weight": "embedding.weight"}'
NONE = "_tied_weights_keys = None"
_INIT = "self.embedding = nn.Embedding(9, 6)\nself.head = nn.Linear(6, 9, bias=False)"
_METHODS = (
    "def get_input_embeddings(self):\n    return self.embedding\ndef get_output_embeddings(self):\n    return self.head"
)


@dataclass(frozen=True)
class TiedHead:
    """The body of a model class. `written` is a line of the result, None where nothing changes, "" where it is refused.

    `ties` says what 4.57 does; the head is `self.{head}`, the embedding `self.{embedding}`.
    """

    name: str
    written: str | None
    ties: bool = True
    lines: str = '_tied_weights_keys = ["head.weight"]'
    init: str = _INIT
    methods: str = _METHODS
    above: str = ""
    tie_word_embeddings: bool | None = None
    head: str = "head.weight"
    embedding: str = "embedding.weight"
    last: str = "self.post_init()"

    def code(self) -> str:
        """The file of the model."""

        def indented(text: str, spaces: int) -> str:
            return "".join(f"{' ' * spaces}{line}\n" for line in text.splitlines())

        init = f"super().__init__(config)\n{self.init}\n{self.last}"
        head, embedding = self.head.rpartition(".")[0], self.embedding.rpartition(".")[0]
        return (
            f"import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n"
            f"from transformers import PreTrainedModel\nfrom transformers.modeling_outputs import MaskedLMOutput\n"
            f"from .configuration_x import XConfig\n{self.above}\n\nclass XForMaskedLM(PreTrainedModel):\n"
            f"    config_class = XConfig\n{indented(self.lines, 4)}\n"
            f"    def __init__(self, config):\n{indented(init, 8)}"
            f"{indented(self.methods, 4)}\n    def forward(self, input_ids, **kwargs):\n"
            f"        hidden = F.embedding(input_ids, self.{embedding}.weight)\n"
            f"        return MaskedLMOutput(logits=F.linear(hidden, self.{head}.weight))\n"
        )

    def write(self, folder: Path) -> Path:
        """A model with random weights, two different ones of its head and its embedding."""
        flag = {} if self.tie_word_embeddings is None else {"tie_word_embeddings": self.tie_word_embeddings}
        Configuration(self.name, "pass", json=flag).write(folder)
        (folder / "modeling_x.py").write_text(self.code(), "utf-8")
        generator = torch.Generator().manual_seed(1)
        tensors = {name: torch.randn(9, 6, generator=generator) for name in (self.head, self.embedding)}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder


_INNER = """\
class Inner(PreTrainedModel):
    config_class = XConfig

    def __init__(self, config):
        super().__init__(config)
        self.embedding = nn.Embedding(9, 6)
        self.post_init()

    def get_input_embeddings(self):
        return self.embedding
"""
_LM_INIT = (
    "self.model = nn.ModuleDict()\nself.embed_tokens = nn.Embedding(9, 6)\nself.lm_head = nn.Linear(6, 9, bias=False)"
)
TIED_HEADS = [
    TiedHead("a module", MAPPING),
    TiedHead("no list", MAPPING, lines=""),
    TiedHead("a tuple", MAPPING, lines='_tied_weights_keys = ("head.weight",)'),
    TiedHead("a constant", MAPPING, lines="_tied_weights_keys = NAMES", above='NAMES = ["head.weight"]\n'),
    TiedHead("a name of the class", MAPPING, lines='KEYS = ["head.weight"]\n_tied_weights_keys = KEYS'),
    TiedHead(
        "a property",
        MAPPING,
        methods=_METHODS.replace("return self.head", "return self.decoder")
        + "\n@property\ndef decoder(self):\n    return self.head",
    ),
    TiedHead("a sum of lists", MAPPING, lines='_tied_weights_keys = ["head.weight"] + ["head.bias"]'),
    TiedHead("init_weights in place of post_init", MAPPING, last="self.init_weights()"),
    TiedHead("neither of them", MAPPING, last=""),
    TiedHead(
        "tie_weights of its own",
        MAPPING,
        methods=f"{_METHODS}\ndef tie_weights(self):\n    self.head.weight = self.embedding.weight",
    ),
    TiedHead("a flag that is set", MAPPING, tie_word_embeddings=True),
    TiedHead("None", MAPPING, lines="_tied_weights_keys = None"),
    TiedHead(
        "lm_head",
        '_tied_weights_keys = {"lm_head.weight": "embed_tokens.weight"}',
        lines="",
        init=_LM_INIT,
        methods="",
        head="lm_head.weight",
        embedding="embed_tokens.weight",
    ),
    TiedHead(
        "an embedding of another class",
        '_tied_weights_keys = {"head.weight": "inner.embedding.weight"}',
        init="self.inner = Inner(config)\nself.head = nn.Linear(6, 9, bias=False)",
        methods=_METHODS.replace("return self.embedding", "return self.inner.get_input_embeddings()"),
        above=f"\n\n{_INNER}",
        embedding="inner.embedding.weight",
    ),
    TiedHead("a flag that is not set", NONE, ties=False, tie_word_embeddings=False),
    TiedHead("a parameter", NONE, ties=False, methods=_METHODS.replace("self.head", "self.head.weight")),
    TiedHead("a parameter of the model", NONE, False, methods=_METHODS.replace("self.head", "None")),
    TiedHead("no method", NONE, False, methods=_METHODS.partition("def get_output")[0]),
    TiedHead("nothing", None, False, lines="", methods=_METHODS.partition("def get_output")[0]),
    TiedHead("a mapping", None, True, lines=MAPPING),
    TiedHead(
        "a method of its own",
        "",
        True,
        methods=_METHODS.replace("return self.head", "return self.head if self.training else self.head"),
    ),
    TiedHead("a list in the constructor", "", True, "", f'{_INIT}\nself._tied_weights_keys = ["head.weight"]'),
    TiedHead("a name from elsewhere", "", True, "from json import tool as K\n_tied_weights_keys = K"),
    TiedHead(
        "a lambda",
        "",
        True,
        methods=_METHODS.partition("def get_output")[0] + "get_output_embeddings = lambda self: self.head",
    ),
    TiedHead(
        "a method below an if",
        "",
        True,
        "",
        methods=_METHODS.partition("def get_output")[0]
        + "if True:\n    def get_output_embeddings(self):\n        return self.head",
    ),
    TiedHead(
        "_tie_weights", "", True, "", methods="def _tie_weights(self):\n    self.head.weight = self.embedding.weight"
    ),
]
