"""The code of a model is what auto_map names and what that imports, or there is a refusal that says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from patcher.errors import CodeError, SourceError
from patcher.planning.rewriting import rewrite_code
from tests.planning.folders import configure, plan_of, refusal


def test_code_that_auto_map_does_not_reach_is_carried_over_as_it_is(mini: Path) -> None:
    (mini / "convert.py").write_text("this is no Python at all")
    assert "convert.py" in plan_of(mini).files.copied


HEAD = """\
class GptBertForMaskedLM(Base):
    def forward(self, **inputs):
        return super().forward(**inputs)
"""


def test_repairs_reach_the_files_that_the_model_imports(mini: Path) -> None:
    source = (mini / "modeling_gptbert.py").read_text("utf-8")
    (mini / "heads.py").write_text(source, "utf-8")
    (mini / "modeling_gptbert.py").write_text("from .heads import GptBertForMaskedLM as Base\n\n\n" + HEAD, "utf-8")
    plan = plan_of(mini)
    assert plan.files.changed == ("config.json", "configuration_gptbert.py", "heads.py")
    applied = {result.name: result.file for result in plan.codemods if result.status == "applied"}
    code = dict.fromkeys(("soft_cap", "computed_buffers", "tied_weights"), "heads.py")
    assert applied == {**code, "config_defaults": "config.json"}
    assert plan.soft_cap and plan.soft_cap.class_name == "GptBertForMaskedLM" and plan.soft_cap.file == "heads.py"


@pytest.mark.parametrize("auto_map", ["x.Y", ["a"], 5])
def test_an_auto_map_that_is_no_object_is_refused(mini: Path, auto_map: Any) -> None:
    configure(mini, auto_map=auto_map)
    assert "not an object" in refusal(mini, SourceError).message


@pytest.mark.parametrize("auto_map", [None, {}, {"AutoModel": "modeling_gptbert.GptBertModel"}])
def test_a_model_without_masked_lm_code_is_refused(mini: Path, auto_map: Any) -> None:
    configure(mini, auto_map=auto_map)
    assert "AutoModelForMaskedLM" in refusal(mini, SourceError).message


def test_code_of_another_repository_is_refused(mini: Path) -> None:
    configure(mini, auto_map={"AutoModelForMaskedLM": "ltg/norbert4-base--modeling_gptbert.GptBertForMaskedLM"})
    assert "another repository" in refusal(mini, SourceError).message


def test_a_file_that_auto_map_needs_and_that_is_missing_is_refused(mini: Path) -> None:
    (mini / "modeling_gptbert.py").unlink()
    assert "modeling_gptbert.py" in refusal(mini, SourceError).message


def test_a_class_that_the_file_does_not_define_is_refused(mini: Path) -> None:
    configure(mini, auto_map={"AutoModelForMaskedLM": "modeling_gptbert.BertForMaskedLM"})
    assert "BertForMaskedLM" in refusal(mini, CodeError).message


def test_the_configuration_class_is_read_even_if_no_file_imports_it() -> None:
    """Its `__init__` sets 20, whatever default the model reads the key with."""
    modules = {
        "configuration_x.py": b"class XConfig(PretrainedConfig):\n    def __init__(self, **kwargs):\n"
        b"        super().__init__(**kwargs)\n        self.cap = 20.0\n",
        "modeling_x.py": b"import torch\nclass XForMaskedLM(Model):\n    def forward(self, x):\n"
        b'        return getattr(self.config, "cap", 30.0) * torch.sigmoid(self.decoder(x) / 7.5)\n',
    }
    config = {"auto_map": {"AutoConfig": "configuration_x.XConfig", "AutoModelForMaskedLM": "modeling_x.XForMaskedLM"}}
    soft_cap = rewrite_code(modules, config).soft_cap
    assert soft_cap is not None and soft_cap.scale == 20.0
