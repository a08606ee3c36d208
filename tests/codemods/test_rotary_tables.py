"""Tables that no checkpoint holds are filled again after loading; a class for which that cannot be done is refused."""

from __future__ import annotations

import pytest

from patcher.codemods import NotNeeded, Refused
from tests.codemods.tools import IMPORTS, applied, check, run

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


ROTARY = """\
class Tables(nn.Module):
    def __init__({arguments}):
        {init}
        self.register_buffer("cos", torch.ones(size), persistent=False)
{more}"""
HOME_OF_TABLES = "class Model(PreTrainedModel):\n    pass\n"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("rotary-no-home", ROTARY.format(arguments="self, size", init="super().__init__()", more="")),
        (
            "rotary-in-model",
            ROTARY.format(arguments="self, size", init="super().__init__()", more=HOME_OF_TABLES).replace(
                "Tables(nn.Module)", "Tables(PreTrainedModel)"
            ),
        ),
        (
            "rotary-star-arguments",
            ROTARY.format(arguments="self, *size", init="super().__init__()", more=HOME_OF_TABLES),
        ),
        (
            "rotary-positional-only",
            ROTARY.format(arguments="self, /, size", init="super().__init__()", more=HOME_OF_TABLES),
        ),
        ("rotary-no-super-init", ROTARY.format(arguments="self, size", init="pass", more=HOME_OF_TABLES)),
    ],
)
def test_tables_that_cannot_be_filled_again(name: str, code: str) -> None:
    outcome = run("rotary_tables", IMPORTS + code)
    assert isinstance(outcome, Refused) and outcome.name == name and "Tables" in outcome.reason


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
