"""The configuration is known under whatever name code gives it, and other objects are not taken for it."""

from __future__ import annotations

import pytest

from patcher.codemods import Code
from patcher.codemods.config_reads import Read, read_attributes
from patcher.codemods.config_sections import TOP, Section

ONE = {TOP: Section({})}

READ = [
    "config.prefix",
    "self.decoder.config.prefix",
    "cfg.prefix",
    "config.prefix += 1",
    'getattr(self.config, "prefix", 1)',
    'operator.attrgetter("prefix")(config)',
    'vars(config)["prefix"]',
    'config.__dict__.get("prefix")',
    '{**vars(config)}["prefix"]',
    "a = b = config\nb.prefix",
    "a, b = 1, config\nb.prefix",
    "h: object = config\nh.prefix",
    "def f(x, hp):\n    return hp.prefix\nf(1, config)",
    "def f(hp):\n    return hp.prefix\nf(hp=self.config)",
    "class A:\n    def __init__(self, hp):\n        hp.prefix\nA(config)",
    "class A:\n    def f(self, hp):\n        return hp.prefix\na.f(config)",
    "def f(hp: XConfig):\n    return hp.prefix",
    "def f(hp: 'XConfig | None' = None):\n    return hp.prefix",
    "class M(PreTrainedModel):\n    def __init__(self, hp):\n        super().__init__(hp)\n        hp.prefix",
    "class XConfig(PretrainedConfig):\n    def f(self):\n        return self.prefix",
    'for name in ("prefix", "suffix"):\n    getattr(config, name)',
    "(config or other).prefix",
    'def f(**more):\n    return more.get("prefix")\nf(**config.to_dict())',
    "class A:\n    def __init__(self, prefix=True, **more):\n        pass\nA(**vars(config))",
    'read = getattr\nread(config, "prefix", 1)',
    'functools.partial(getattr, config)("prefix", 1)',
    'functools.reduce(getattr, ["prefix"], config)',
    'type(config).__getattribute__(config, "prefix")',
    "match config:\n    case XConfig(prefix=p):\n        pass",
    'd = {key: value for key, value in config.to_dict().items()}\nd["prefix"]',
    'for key, value in config.__dict__.items():\n    if key == "prefix":\n        pass',
    '(config.to_dict() | {"a": 1})["prefix"]',
    'json.loads(config.to_json_string())["prefix"]',
    'operator.itemgetter("prefix")(config.to_dict())',
    "Namespace(config.to_dict()).prefix",
    "for c in (config,):\n    c.prefix",
    "c = [config]\nc[0].prefix",
    "def f(self):\n    return self.config\nself.f().prefix",
    "class A:\n    @property\n    def hp(self):\n        return self._config\nself.hp.prefix",
    'h = more.pop("config")\nh.prefix',
    "def f(hp):\n    return hp.prefix\nfunctools.partial(f, config)",
    "def f(hp):\n    return hp.prefix\nf(*[config])",
    "class XConfig(PretrainedConfig):\n    def f(self):\n        return super().prefix",
    'class XConfig(PretrainedConfig):\n    def f(self):\n        return self.__dict__["prefix"]',
    "class X(Base):\n    model_type = 'x'\n    def f(self):\n        return self.prefix",
    'getattr(self, "config").prefix',
]
NOT_READ = [
    "self.prefix",
    "tokenizer.prefix",
    "generation_config.prefix",
    "config.prefix = 1",
    'x.to_dict()["prefix"]',
    'vars(self)["prefix"]',
    'getattr(self, "prefix")',
    "del config.prefix",
    "config.hidden_size",
    'x = {"prefix": 1}["prefix"]',
    'kwargs.pop("prefix", None)',
    'def f():\n    "prefix"',
    "class A:\n    def f(self):\n        return self.prefix",
]


@pytest.mark.parametrize("text", READ)
def test_a_read_of_the_configuration_is_found_with_its_line(text: str) -> None:
    found = read_attributes([Code("a.py", b"x = 1\n", {}), Code("b.py", text.encode(), {})], {"prefix"}, ONE)[TOP]
    (line,) = [at for at, one in enumerate(text.split("\n"), 1) if "prefix" in one and "for name" not in one] or [2]
    assert found == {"prefix": Read("b.py", line)}


@pytest.mark.parametrize("text", NOT_READ)
def test_what_is_no_read_of_the_configuration_is_not_found(text: str) -> None:
    assert read_attributes([Code("a.py", text.encode(), {})], {"prefix"}, ONE) == {TOP: {}}


def test_a_name_that_another_file_gives_the_configuration_is_known() -> None:
    first, second = b"from .b import f\nf(config)\n", b"def f(hp):\n    return hp.prefix\n"
    assert read_attributes([Code("a.py", first, {}), Code("b.py", second, {})], {"prefix"}, ONE)[TOP].keys() == {
        "prefix"
    }
