"""The code of a model is what auto_map names and what that imports, or there is a refusal that says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from patcher.errors import CodeError, SourceError
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
    assert plan.files.changed == ("config.json", "heads.py")
    applied = {result.name: result.file for result in plan.codemods if result.status == "applied"}
    code = dict.fromkeys(("soft_cap", "rotary_tables", "tied_weights"), "heads.py")
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
