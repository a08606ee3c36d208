"""Configurations that lack an attribute in transformers 5: code, config.json, and what becomes of it.

The tests of the codemod read `where`; those of both versions of transformers compare every attribute that is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEY, CLASS, NOTHING, REFUSED = "config.json", "configuration_x.py", "nothing", "refused"
AUTO_MAP = {"AutoConfig": "configuration_x.XConfig", "AutoModelForMaskedLM": "modeling_x.XForMaskedLM"}


@dataclass(frozen=True)
class Configuration:
    """A configuration class, and a statement of the model that reads it; `where` the value of 4.57 has to be written.

    `lines` are the body of the class, `init` that of its constructor, whose parameters are `parameters`, and `above` is
    what stands above the class.
    """

    name: str
    reads: str
    where: str = KEY
    keys: tuple[str, ...] = ("is_decoder",)
    lines: str = ""
    parameters: str = "hidden_size=64, **kwargs"
    init: str = "super().__init__(**kwargs)"
    base: str = "PretrainedConfig"
    json: dict[str, Any] = field(default_factory=dict)
    above: str = ""

    def files(self) -> dict[str, str]:
        """The files of a model with this configuration."""
        body = "".join(f"    {line}\n" for line in self.lines.splitlines())
        if self.parameters:
            inner = "".join(f"        {line}\n" for line in [*self.init.splitlines(), "self.hidden_size = 64"])
            body += f"\n    def __init__(self, {self.parameters}):\n{inner}"
        imports = f"from transformers import {self.base}\n{self.above}"
        text = f"{imports}\n\nclass XConfig({self.base}):\n    model_type = 'x'\n{body}"
        model = f"{_MODEL}        {self.reads}\n"
        config = {"auto_map": AUTO_MAP, "model_type": "x", "hidden_size": 64, **self.json}
        return {CLASS: text, "modeling_x.py": model, KEY: json.dumps(config, indent=2)}

    def write(self, folder: Path) -> Path:
        """A folder with these files."""
        folder.mkdir(parents=True)
        for name, content in self.files().items():
            (folder / name).write_text(content, "utf-8")
        return folder


_MODEL = """\
import torch
from torch import nn
from transformers import PreTrainedModel
from .configuration_x import XConfig


class XForMaskedLM(PreTrainedModel):
    config_class = XConfig

    def __init__(self, config):
        super().__init__(config)
"""
_AFTER, _BEFORE = "super().__init__(**kwargs)\n{}", "{}\nsuper().__init__(**kwargs)"

CONFIGURATIONS = [
    # however it is read
    Configuration("an attribute", "self.causal = config.is_decoder"),
    Configuration("getattr with another default", 'self.causal = getattr(config, "is_decoder", True)'),
    Configuration("hasattr", 'self.causal = hasattr(config, "is_decoder")'),
    Configuration("self.config", "self.causal = self.config.is_decoder"),
    Configuration("an alias", "c = config; self.causal = c.is_decoder"),
    Configuration("an attribute of another name", "self.hp = config; self.causal = self.hp.is_decoder"),
    Configuration("a walrus", "self.causal = (c := config).is_decoder"),
    Configuration("a dictionary", 'self.causal = config.to_dict().get("is_decoder", True)'),
    Configuration("an entry", 'self.causal = config.to_dict()["is_decoder"]'),
    Configuration("membership", 'self.causal = "is_decoder" in vars(config)'),
    Configuration(
        "a name in a variable", 'self.causal = [getattr(config, n, 1) for n in ("is_decoder", "hidden_size")]'
    ),
    Configuration("a conditional", "self.causal = (config if config else None).is_decoder"),
    Configuration("keywords", "self.causal = (lambda is_decoder=True, **more: is_decoder)(**config.to_dict())"),
    Configuration(
        "getattr as a value", "import functools; self.causal = functools.reduce(getattr, ['is_decoder'], config)"
    ),
    Configuration("a list", "self.all = [config]; self.causal = self.all[0].is_decoder"),
    Configuration("a copy", "import copy; c = copy.deepcopy(config); self.causal = c.is_decoder"),
    # whatever is read
    Configuration("tied embeddings", 'getattr(config, "tie_word_embeddings", False)', keys=("tie_word_embeddings",)),
    Configuration("no padding", 'getattr(config, "pad_token_id", 0)', keys=("pad_token_id",)),
    Configuration("pruned heads", 'getattr(config, "pruned_heads", None)', keys=("pruned_heads",)),
    Configuration("several", "(config.torchscript, config.eos_token_id)", keys=("torchscript", "eos_token_id")),
    Configuration("what 5 does not load", 'getattr(config, "temperature", 2.0)', CLASS, ("temperature",)),
    Configuration("what 5 does not load, in config.json", "config.top_k", CLASS, ("top_k",), json={"top_k": 7}),
    Configuration("both", "(config.top_p, config.is_decoder)", CLASS, ("top_p", "is_decoder")),
    # whatever the class does
    Configuration("a class without a constructor", "config.is_decoder", parameters=""),
    Configuration("what 5 does not load, without one", "config.max_length", CLASS, ("max_length",), parameters=""),
    Configuration("a default of the class body", "config.is_decoder", lines="is_decoder = True"),
    Configuration("another of it", "config.temperature", CLASS, ("temperature",), lines="temperature = 0.7"),
    Configuration(
        "a default before the base class", "config.is_decoder", init=_BEFORE.format("self.is_decoder = True")
    ),
    Configuration(
        "a parameter that the base class does not get",
        "config.is_decoder",
        parameters="is_decoder=True, **kwargs",
        init=_BEFORE.format("self.is_decoder = is_decoder"),
        json={"is_decoder": True},
    ),
    Configuration(
        "a parameter of what 5 does not load",
        "config.max_length",
        keys=("max_length",),
        parameters="max_length=512, **kwargs",
        init=_BEFORE.format("self.max_length = max_length"),
    ),
    Configuration("no keyword arguments passed on", "config.is_decoder", CLASS, init="super().__init__()"),
    Configuration(
        "attributes set from what is left",
        "config.is_decoder",
        init="super().__init__()\nfor key, value in kwargs.items():\n    setattr(self, key, value)",
    ),
    Configuration("a mapped name", "config.causal", lines='attribute_map = {"causal": "is_decoder"}'),
    Configuration(
        "an argument of what 5 does not load",
        "config.temperature",
        CLASS,
        ("temperature",),
        init="super().__init__(temperature=0.3, **kwargs)",
    ),
    Configuration(
        "a class of transformers",
        "config.rope_theta",
        CLASS,
        ("rope_theta",),
        base="LlamaConfig",
        json={"num_attention_heads": 4},
    ),
    Configuration("another", "config.torchscript", keys=("torchscript",), base="BertConfig"),
    # nothing to do
    Configuration("a key of config.json", "config.is_decoder", NOTHING, json={"is_decoder": True}),
    Configuration(
        "set after the base class", "config.is_decoder", NOTHING, init=_AFTER.format("self.is_decoder = True")
    ),
    Configuration(
        "a constant argument", "config.is_decoder", NOTHING, init="super().__init__(is_decoder=True, **kwargs)"
    ),
    Configuration(
        "a parameter passed on",
        "config.is_decoder",
        NOTHING,
        parameters="is_decoder=True, **kwargs",
        init="super().__init__(is_decoder=is_decoder, **kwargs)",
    ),
    Configuration(
        "a default among the arguments",
        "config.is_decoder",
        NOTHING,
        init='kwargs.setdefault("is_decoder", True)\nsuper().__init__(**kwargs)',
    ),
    Configuration("a class of transformers that has it", "config.pad_token_id", NOTHING, base="BertConfig"),
    Configuration("an attribute of a module", "self.temperature = 3.0; self.temperature", NOTHING, ()),
    Configuration("a tokenizer's", 'tokenizer = kwargs["t"]; tokenizer.pad_token_id', NOTHING, ()),
    Configuration("an assignment", "config.is_decoder = True", NOTHING, ()),
    # refused
    Configuration(
        "an expression before the base class",
        "config.is_decoder",
        REFUSED,
        init=_BEFORE.format("self.is_decoder = bool(1)"),
        parameters="is_decoder=None, **kwargs",
    ),
]
