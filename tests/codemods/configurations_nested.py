"""Configurations that have others as attributes, which lack an attribute in transformers 5.

`keys` are the attributes with the keys that lead to them, and `VALUES` those that are not the base class's of 4.57.
"""

from __future__ import annotations

from typing import Any

from tests.codemods.configurations import CLASS, KEY, NOTHING, REFUSED, Configuration

_DECODER, _PADDING = ("text_config.is_decoder",), ("text_config.pad_token_id",)
_BASE = "from transformers import PretrainedConfig\n"
_TEXT = """

class TextConfig(PretrainedConfig):
    model_type = "x_text"
{lines}
    def __init__(self, {parameters}):
        {init}
        self.width = width
"""
_SECTION = {"text_config": {"width": 8}}
_IF_DICT = """\
if isinstance(text_config, dict):
    text_config = {built}
elif text_config is None:
    text_config = {default}
self.text_config = text_config
super().__init__(**kwargs)"""

_BERT = {
    "built": "BertConfig(**text_config)",
    "default": "BertConfig()",
    "above": "from transformers import BertConfig\n",
}


def text_class(lines: str = "", parameters: str = "width=4, **kwargs", init: str = "super().__init__(**kwargs)") -> str:
    """The class of the section."""
    return _TEXT.format(lines=f"    {lines}\n" if lines else "", parameters=parameters, init=init)


def nested(name: str, reads: str, where: str = KEY, keys: tuple[str, ...] = _DECODER, **more: Any) -> Configuration:
    """A configuration with one for its text, which `TextConfig(**text_config)` makes unless `built` says otherwise."""
    built, default = more.pop("built", "TextConfig(**text_config)"), more.pop("default", "TextConfig()")
    known = {
        "parameters": "text_config=None, hidden_size=64, **kwargs",
        "init": _IF_DICT.format(built=built, default=default),
        "above": text_class(),
        "json": _SECTION,
    }
    return Configuration(name, reads, where, keys, **{**known, **more})


def of_transformers(kind: str, **more: Any) -> dict[str, Any]:
    """A section of a class of transformers."""
    return {"json": {"text_config": {"model_type": kind, **more}}}


NESTED = [
    # however it is read
    nested("an attribute", "self.causal = config.text_config.is_decoder"),
    nested("getattr", 'self.causal = getattr(config.text_config, "is_decoder", True)'),
    nested("get_text_config", 'self.pad = getattr(config.get_text_config(), "pad_token_id", 0)', keys=_PADDING),
    nested("an alias", "text = config.text_config; text.torchscript", keys=("text_config.torchscript",)),
    nested("an alias of another name", "self.lm = self.config.text_config; self.lm.is_decoder"),
    nested("getattr of the section", 'getattr(config, "text_config").is_decoder'),
    nested("a dictionary", 'config.to_dict()["text_config"].get("is_decoder", True)', where=KEY),
    nested("a dictionary of the section", 'config.text_config.to_dict().get("is_decoder", True)'),
    nested("a copy", "import copy; c = copy.deepcopy(config.text_config); c.is_decoder"),
    nested("a method of its class", "pass", above=text_class("causal = property(lambda self: self.is_decoder)")),
    nested(
        "a function that is given it",
        "(lambda: None)",
        above=text_class() + "\n\ndef causal(hp):\n    return hp.is_decoder\n\n\ndef both(config):\n"
        "    return causal(config.text_config)\n",
    ),
    nested("both", "(config.text_config.is_decoder, config.is_decoder)", keys=("is_decoder", *_DECODER)),
    # whatever builds it
    nested(
        "a conditional",
        "config.text_config.is_decoder",
        init="self.text_config = TextConfig(**text_config) if "
        "isinstance(text_config, dict) else text_config\nsuper().__init__(**kwargs)",
    ),
    nested("from_dict", "config.text_config.is_decoder", built="TextConfig.from_dict(text_config)"),
    nested("an empty section", "config.text_config.is_decoder", json={"text_config": {}}),
    nested(
        "another name",
        "config.encoder.is_decoder",
        keys=("encoder.is_decoder",),
        parameters="encoder=None, hidden_size=64, **kwargs",
        init="self.encoder = TextConfig(**(encoder or {}))\nsuper().__init__(**kwargs)",
        json={"encoder": {"width": 8}},
    ),
    nested(
        "a class of transformers",
        "config.text_config.torchscript",
        keys=("text_config.torchscript",),
        **_BERT,
    ),
    nested(
        "a class that the model type names",
        "config.text_config.torchscript",
        keys=("text_config.torchscript",),
        built='CONFIG_MAPPING[text_config["model_type"]](**text_config)',
        default='CONFIG_MAPPING["bert"]()',
        above="from transformers import CONFIG_MAPPING\n",
        **of_transformers("bert"),
    ),
    nested(
        "for_model",
        "config.text_config.tie_encoder_decoder",
        keys=("text_config.tie_encoder_decoder",),
        built="AutoConfig.for_model(**text_config)",
        default="None",
        above="from transformers import AutoConfig\n",
        **of_transformers("modernbert"),
    ),
    nested(
        "a class of transformers around it",
        "config.text_config.torchscript",
        keys=("text_config.torchscript",),
        base="LlavaConfig",
        parameters="hidden_size=64, **kwargs",
        init="super().__init__(**kwargs)",
        above="",
        **of_transformers("bert"),
    ),
    nested(
        "a property",
        "config.text_config.is_decoder",
        CLASS,
        lines="text_config = property(lambda self: TextConfig(**self.text))",
        parameters="text=None, hidden_size=64, **kwargs",
        init="self.text = text\nsuper().__init__(**kwargs)",
        json={"text": {"width": 8}},
    ),
    nested("what 5 does not load", "config.text_config.top_k", CLASS, ("text_config.top_k",)),
    nested(
        "what 5 does not load, in config.json",
        "config.text_config.top_k",
        CLASS,
        ("text_config.top_k",),
        json={"text_config": {"width": 8, "top_k": 7}},
    ),
    nested(
        "no keyword arguments passed on",
        "config.text_config.is_decoder",
        CLASS,
        above=text_class(init="super().__init__()"),
    ),
    nested(
        "some keys alone",
        'getattr(config.text_config, "is_decoder", True)',
        CLASS,
        built='TextConfig(width=text_config["width"])',
    ),
    nested("no section", 'getattr(config.text_config, "is_decoder", True)', CLASS, json={}),
    # nothing to do
    nested(
        "a key of the section", "config.text_config.is_decoder", NOTHING, json={"text_config": {"is_decoder": True}}
    ),
    nested(
        "a default of a class",
        "config.text_config.is_decoder",
        NOTHING,
        above=text_class(init="super().__init__(**kwargs); self.is_decoder = True"),
    ),
    nested(
        "a class of transformers that has it",
        "config.text_config.pad_token_id",
        NOTHING,
        _PADDING,
        **_BERT,
    ),
    nested(
        "one without a section",
        "config.text_config.pad_token_id",
        NOTHING,
        _PADDING,
        **_BERT,
        json={},
    ),
    nested("a plain mapping", 'config.more.get("is_decoder", True)', NOTHING, (), json={"more": {"a": 1}}),
    nested(
        "an argument",
        "config.text_config.is_decoder",
        NOTHING,
        built='TextConfig(is_decoder=text_config.pop("is_decoder", True), **text_config)',
    ),
    # refused
    nested(
        "a class of transformers without a section",
        'getattr(config.text_config, "torchscript", True)',
        REFUSED,
        **_BERT,
        json={},
    ),
    nested(
        "a class of transformers around none",
        'getattr(config.text_config, "torchscript", True)',
        REFUSED,
        base="LlavaConfig",
        parameters="hidden_size=64, **kwargs",
        init="super().__init__(**kwargs)",
        above="",
        json={},
    ),
    nested(
        "what a class of transformers does not load",
        'getattr(config.text_config, "top_k", 1)',
        REFUSED,
        built="BertConfig(**text_config)",
        above="from transformers import BertConfig\n",
    ),
    nested(
        "rotary angles of a class of transformers",
        'getattr(config.text_config, "rope_theta", 1)',
        REFUSED,
        built="LlamaConfig(**text_config)",
        above="from transformers import LlamaConfig\n",
    ),
    nested("an unknown builder", 'getattr(config.text_config, "is_decoder", True)', REFUSED, built="make(text_config)"),
    nested(
        "two builders",
        'getattr(config.text_config, "is_decoder", True)',
        REFUSED,
        built="TextConfig(**text_config) if hidden_size else XConfig(**text_config)",
    ),
    nested(
        "a key that the outer class sets",
        'getattr(config.text_config, "is_decoder", True)',
        REFUSED,
        init='text_config.setdefault("is_decoder", True)\nself.text_config = TextConfig(**text_config)\n'
        "super().__init__(**kwargs)",
    ),
    nested(
        "a default among the keys",
        'getattr(config.text_config, "is_decoder", True)',
        REFUSED,
        built='TextConfig(**{"is_decoder": True, **text_config})',
    ),
    nested(
        "names in a loop",
        'getattr(config.text_config, "is_decoder", True)',
        REFUSED,
        init='for name in ("text_config",):\n    setattr(self, name, TextConfig(**text_config))\n'
        "super().__init__(**kwargs)",
    ),
    nested(
        "made of arguments by the model",
        'from transformers import BertConfig; getattr(BertConfig(hidden_size=8), "torchscript", True)',
        REFUSED,
        json={},
    ),
    nested(
        "made by the model",
        'getattr(TextConfig(**config.text_config), "is_decoder", True)',
        REFUSED,
        init="self.text_config = text_config\nsuper().__init__(**kwargs)",
    ),
]
VALUES = {"what 5 does not load, in config.json": 7, "a key of the section": True, "a default of a class": True}
VALUES |= {"an argument": True, "a class of transformers that has it": 0, "one without a section": 0}
