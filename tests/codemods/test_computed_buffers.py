"""What a model computes while it is built is there after loading: tables of every form, in models that really load."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from patcher.codemods import Applied, NotNeeded, Refused, computed_buffers
from patcher.verify.measure.models import nan_filled_memory
from tests.codemods import loading
from tests.codemods.tables import REPAIRED, TABLES, Table, tables
from tests.codemods.tools import IMPORTS, applied, package_of, run, tables_to_load

EXAMPLES = int(os.environ.get("PATCHER_TEST_PROGRAMS", "2500")) // 100
ROTARY = """\
class Rotary(nn.Module):
    def __init__(self, config, theta=10_000):
        super().__init__()
        self.register_buffer("table", torch.arange(theta), persistent=False)


# the models
class Base(PreTrainedModel):
    supports = True


class Model(Base):
    pass
"""
MIXED = "class Base(ComputedBuffersMixin, PreTrainedModel):\n    supports = True\n"


def test_a_loaded_model_holds_what_a_fresh_one_computes() -> None:
    assert len(REPAIRED) >= 60 and len({table.name for table in TABLES}) == len(TABLES)
    assert loading.main(tables_to_load()) == {}


@settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES <= 25,
    database=None,
    deadline=None,
    print_blob=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(tables(), st.sampled_from(["float32", "bfloat16"]))
def test_models_at_random_load_as_they_are_built(table: Table, dtype: str) -> None:
    code = table.code()
    assert loading.main({"it": (code, applied("computed_buffers", code), dtype)}) == {}


def test_models_that_are_built_in_other_threads_meanwhile_keep_their_parameters() -> None:
    (table,) = [one for one in TABLES if one.name == "a saved buffer beside it"]
    tiny = loading.module("tiny_threads", applied("computed_buffers", table.code()))
    first, second = tiny.ParametersOnMeta(), tiny.ParametersOnMeta()
    shared = nn.Linear(2, 2)
    with ThreadPoolExecutor(1) as other:
        first.__enter__()
        other.submit(second.__enter__).result()
        built, tied = nn.Linear(2, 2), nn.Linear(2, 2)
        tied.weight = built.weight
        first.__exit__()
        here, there = nn.Linear(2, 2), other.submit(nn.Linear, 2, 2).result()
        other.submit(second.__exit__).result()
        after = other.submit(nn.Linear, 2, 2).result()
    assert built.weight.is_meta and tied.weight is built.weight and not shared.weight.is_meta
    assert not here.weight.is_meta and there.weight.is_meta and not after.weight.is_meta


def test_without_the_repair_hardly_any_of_them_loads_right() -> None:
    tables = REPAIRED[::5]
    wrong = loading.main({table.name: (table.code(), table.code(), "bfloat16") for table in tables})
    assert len(wrong) > len(tables) / 2


def test_a_saved_buffer_that_the_checkpoint_lacks_keeps_its_initial_value(tmp_path: Path) -> None:
    (table,) = [one for one in TABLES if one.name == "a saved buffer beside it"]
    tiny = loading.module("tiny_lacking", applied("computed_buffers", table.code()))
    folder = loading.written(tiny.TinyModel(tiny.TinyConfig()), tmp_path)
    tensors = load_file(folder / "model.safetensors")
    del tensors["rot.mean"], tensors["proj.bias"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with nan_filled_memory():
        loaded, info = tiny.TinyModel.from_pretrained(folder, output_loading_info=True)
    assert set(info["missing_keys"]) == {"rot.mean", "proj.bias"}
    assert loaded.rot.mean.eq(0).all() and loaded.proj.bias.isnan().all()  # which its _init_weights does not fill


def test_a_computed_alias_of_a_saved_buffer_keeps_the_value_of_the_constructor(tmp_path: Path) -> None:
    """As in 4.57, where a tensor of the checkpoint takes the place of the buffer alone."""
    init = 'self.register_buffer("mean", torch.zeros(dim))\nself.register_buffer("same", self.mean, persistent=False)'
    table = Table("an alias of a saved buffer", init + "\nself.pair = [self.mean]", forward="return x + self.same")
    tiny = loading.module("tiny_alias", applied("computed_buffers", table.code()))
    folder = loading.written(tiny.TinyModel(tiny.TinyConfig()), tmp_path)
    loaded = tiny.TinyModel.from_pretrained(folder)
    assert loaded.rot.mean.ne(0).all() and loaded.rot.same.eq(0).all() and loaded.rot.pair[0].eq(0).all()


def test_a_saved_buffer_that_the_checkpoint_may_lack_is_computed() -> None:
    (table,) = [one for one in TABLES if one.name == "a saved buffer alone"]
    code = table.code().replace('base_model_prefix = "model"', '_keys_to_ignore_on_load_missing = ["rot.mean"]')
    assert isinstance(run("computed_buffers", code), Applied)


@pytest.mark.parametrize("table", [table for table in TABLES if table.needless], ids=lambda table: table.name)
def test_a_model_that_computes_nothing_stays(table: Table) -> None:
    assert isinstance(run("computed_buffers", table.code()), NotNeeded)


@pytest.mark.parametrize("table", [table for table in TABLES if table.refused], ids=lambda table: table.name)
def test_a_tensor_made_from_a_parameter_is_refused_with_its_line(table: Table) -> None:
    outcome = run("computed_buffers", table.code())
    assert isinstance(outcome, Refused) and outcome.name == "table-from-parameter" == table.refused
    number = int(outcome.reason.split()[1])
    assert "self." in table.code().splitlines()[number - 1]


def test_the_mixin_is_inserted_above_the_comments_of_the_class() -> None:
    after = applied("computed_buffers", IMPORTS + ROTARY)
    above, mixin, below = after.partition("\n\n\nimport threading\n\n\nclass ParametersOnMeta:\n")
    assert above == (IMPORTS + ROTARY).partition("\n\n\n# the models")[0]
    assert mixin and below.endswith("\n\n\n# the models\n" + MIXED + "\n\nclass Model(Base):\n    pass\n")
    assert after.count("import torch\n") == 1


def test_torch_is_imported_where_the_file_has_it_under_another_name() -> None:
    after = applied(
        "computed_buffers", "import torch as t\nfrom torch import nn\n\n\n" + ROTARY.replace("torch.", "t.")
    )
    assert "\n\n\nimport threading\n\n\nimport torch\n\n\nclass ParametersOnMeta:\n" in after


def test_new_lines_follow_the_line_ends_and_tabs_of_the_file() -> None:
    text = IMPORTS + ROTARY
    expected = applied("computed_buffers", text)
    assert applied("computed_buffers", text.replace("\n", "\r\n").encode()) == expected.replace("\n", "\r\n")
    assert applied("computed_buffers", text.replace("    ", "\t").encode()) == expected.replace("    ", "\t")


@pytest.mark.parametrize(
    ("imported", "base"),
    [
        ("from transformers import PreTrainedModel as Library\n", "Library"),
        ("import transformers\n", "transformers.PreTrainedModel"),
        ("from transformers import PreTrainedModel\nLibrary = PreTrainedModel\n", "Library"),
        ("from transformers import BertModel\n", "BertModel"),
        ("from transformers.models.bert.modeling_bert import BertForMaskedLM\n", "BertForMaskedLM"),
        ("from transformers import BertPreTrainedModel\n", "nn.Module, BertPreTrainedModel"),
        ("try:\n    from transformers import PreTrainedModel\nexcept ImportError:\n    pass\n", "PreTrainedModel"),
    ],
)
def test_a_base_class_is_a_class_of_transformers_by_any_name(imported: str, base: str) -> None:
    after = applied("computed_buffers", IMPORTS + imported + ROTARY.replace("PreTrainedModel", base))
    assert f"class Base(ComputedBuffersMixin, {base}):" in after


def test_each_base_class_of_a_file_gets_the_one_mixin() -> None:
    after = applied("computed_buffers", IMPORTS + ROTARY + "\n\nclass Other(PreTrainedModel):\n    pass\n")
    assert after.count("class ComputedBuffersMixin:") == 1
    assert after.count("(ComputedBuffersMixin, PreTrainedModel):") == 2


TABLES_FILE, MODEL_FILE = ROTARY.split("# the models\n")
FILES = {"rotary.py": IMPORTS + TABLES_FILE, "modeling.py": "from .rotary import Rotary\n\n\n" + MODEL_FILE}


def test_the_tables_may_be_in_another_file_than_the_models() -> None:
    package = package_of(FILES)
    found = {path: computed_buffers(code, package) for path, code in package.codes.items()}
    assert isinstance(found["modeling.py"], Applied) and isinstance(found["rotary.py"], NotNeeded)
    assert b"import torch\n" in found["modeling.py"].code


def test_tensors_without_a_model_are_refused() -> None:
    outcome = run("computed_buffers", IMPORTS + TABLES_FILE)
    assert isinstance(outcome, Refused) and outcome.name == "rotary-no-home"


def test_a_class_that_only_has_the_name_is_no_model() -> None:
    named = "class PreTrainedModel(nn.Module):\n    pass\n\n\n"
    assert isinstance(run("computed_buffers", IMPORTS + named + ROTARY), Refused)
