"""The repairs for transformers 5: each touches its own place, says where it is not needed, or refuses."""

from __future__ import annotations

import pytest

from patcher.codemods import NotNeeded, Refused
from tests.codemods.tools import applied, check, run

TABLES = """\
class Rotary(nn.Module):
    def __init__(self, config, theta: int = 10_000, *, scaled=False):
        super().__init__()
        table = make(config, theta)
        self.register_buffer("table", table, persistent=False)


class Base(PreTrainedModel):
    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            module.weight.data.normal_()
"""
TABLES_AFTER = """\
class Rotary(nn.Module):
    def __init__(self, config, theta: int = 10_000, *, scaled=False):
        super().__init__()
        self._init_arguments = {"config": config, "theta": theta, "scaled": scaled}  # for _init_weights
        table = make(config, theta)
        self.register_buffer("table", table, persistent=False)


class Base(PreTrainedModel):
    def _init_weights(self, module):
        # transformers 5 leaves non-persistent buffers uninitialised after loading; they are computed again here.
        if isinstance(module, Rotary):
            rebuilt = type(module)(**module._init_arguments)
            for name, table in rebuilt.named_buffers(recurse=False):
                getattr(module, name).copy_(table)
        if isinstance(module, nn.Linear):
            module.weight.data.normal_()
"""


# rotary_tables: what must not change


@pytest.mark.parametrize("kept", ["", ", persistent=True", ", persistent=keep"])
def test_buffers_that_a_checkpoint_holds_need_nothing(kept: str) -> None:
    outcome = run("rotary_tables", TABLES.replace(", persistent=False", kept))
    assert isinstance(outcome, NotNeeded)


def test_tables_that_init_weights_handles_need_nothing() -> None:
    handled = TABLES.replace("module, nn.Linear", "module, (nn.Linear, Rotary)")
    assert isinstance(run("rotary_tables", handled), NotNeeded)


def test_a_buffer_registered_outside_the_constructor_needs_nothing() -> None:
    moved = TABLES.replace("        self.register_buffer", "\n    def grow(self, table):\n        self.register_buffer")
    assert isinstance(run("rotary_tables", moved), NotNeeded)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("config, theta: int = 10_000, *, scaled=False", "*sizes", "takes *args"),
        ("config, theta: int = 10_000, *, scaled=False", "config, **rest", "takes *args or **kwargs"),
        ("config, theta: int = 10_000, *, scaled=False", "config, theta, /", "positional-only"),
        ("        super().__init__()\n", "", "does not call super"),
        ("class Rotary(nn.Module)", "class Rotary(PreTrainedModel)", "in the model itself"),
    ],
)
def test_a_constructor_that_cannot_be_repeated_is_refused(old: str, new: str, reason: str) -> None:
    outcome = run("rotary_tables", TABLES.replace(old, new))
    assert isinstance(outcome, Refused) and reason in outcome.reason


def test_tables_without_a_model_in_the_file_are_refused() -> None:
    outcome = run("rotary_tables", TABLES.partition("class Base")[0])
    assert isinstance(outcome, Refused) and "no PreTrainedModel" in outcome.reason


# rotary_tables: what must change


def test_tables_are_filled_again_in_init_weights() -> None:
    check("rotary_tables", TABLES, TABLES_AFTER)


def test_a_model_without_init_weights_gets_one_that_keeps_the_default() -> None:
    after = applied("rotary_tables", TABLES.partition("    def _init_weights")[0] + "    supports = True\n")
    assert "    supports = True\n\n    def _init_weights(self, module):\n" in after
    assert "        super()._init_weights(module)\n        # transformers 5 leaves" in after
    assert after.endswith("                getattr(module, name).copy_(table)\n")


def test_a_docstring_stays_first_in_init_weights() -> None:
    documented = TABLES.replace("(self, module):\n", '(self, module):\n        """How weights begin."""\n')
    assert '"""How weights begin."""\n        # transformers 5' in applied("rotary_tables", documented)


def test_the_parameter_of_init_weights_may_have_any_name() -> None:
    renamed = TABLES.replace("(self, module)", "(self, layer)").replace("module.weight", "layer.weight")
    assert "rebuilt = type(layer)(**layer._init_arguments)" in applied("rotary_tables", renamed)


def test_the_rotary_class_of_flash_attn_is_filled_again_as_well() -> None:
    flash = """\
try:
    from flash_attn.layers.rotary import RotaryEmbedding
except ImportError:
    RotaryEmbedding = object


class Unpadded(RotaryEmbedding):
    def __init__(self, dim, base=10000.0):
        super().__init__(dim=dim, base=base)


"""
    after = applied("rotary_tables", flash + TABLES)
    assert 'self._init_arguments = {"dim": dim, "base": base}' in after
    assert "isinstance(module, (Unpadded, Rotary))" in after


def test_new_lines_follow_the_line_ends_and_tabs_of_the_file() -> None:
    windows = applied("rotary_tables", TABLES.replace("\n", "\r\n").encode())
    assert windows == TABLES_AFTER.replace("\n", "\r\n")
    tabs = applied("rotary_tables", TABLES.replace("    ", "\t").encode())
    assert tabs == TABLES_AFTER.replace("    ", "\t")


# tied_weights


@pytest.mark.parametrize("value", ["None", '{"a": "b"}', "NAMES"])
def test_tied_weights_that_transformers_5_reads_need_nothing(value: str) -> None:
    assert isinstance(run("tied_weights", f"class Head(Model):\n    _tied_weights_keys = {value}\n"), NotNeeded)


def test_a_list_inside_a_method_is_nobody_s_business() -> None:
    code = 'class Head(Model):\n    def f(self):\n        _tied_weights_keys = ["a"]\n'
    assert isinstance(run("tied_weights", code), NotNeeded)


@pytest.mark.parametrize("value", ['["a.weight"]', '("a.weight",)', "[]", '[\n        "a.weight",\n    ]'])
@pytest.mark.parametrize("hint", ["", ": list[str]"])
def test_a_list_of_tied_weights_becomes_none(value: str, hint: str) -> None:
    before = f"class Head(Model):\n    _tied_weights_keys{hint} = {value}  # kept\n    x = 1\n"
    check("tied_weights", before, before.replace(value, "None"))


# is_decoder


def test_a_configuration_with_the_key_needs_nothing() -> None:
    assert isinstance(run("is_decoder", "x = config.is_decoder\n", config={"is_decoder": False}), NotNeeded)


@pytest.mark.parametrize("line", ["config.is_decoder = True", "del config.is_decoder", "x = model.is_decoder", "x = 1"])
def test_what_is_no_read_of_the_configuration_needs_nothing(line: str) -> None:
    assert isinstance(run("is_decoder", f"{line}\n"), NotNeeded)


@pytest.mark.parametrize("config", ["config", "self.config", "decoder.config"])
def test_a_read_of_is_decoder_gets_its_default(config: str) -> None:
    check(
        "is_decoder",
        f"causal = not ({config}.is_decoder) and True  # why\n",
        f'causal = not (getattr({config}, "is_decoder", False)) and True  # why\n',
    )


# checkpointing


def test_a_checkpoint_that_is_not_reentrant_needs_nothing() -> None:
    assert isinstance(run("checkpointing", "checkpoint(f, x, use_reentrant=False)\n"), NotNeeded)
    assert isinstance(run("checkpointing", "other(f, x, use_reentrant=True)\n"), NotNeeded)


def test_checkpointing_becomes_non_reentrant() -> None:
    check(
        "checkpointing",
        "y = torch.utils.checkpoint.checkpoint(f, x, use_reentrant=True)\n",
        "y = torch.utils.checkpoint.checkpoint(f, x, use_reentrant=False)\n",
    )
