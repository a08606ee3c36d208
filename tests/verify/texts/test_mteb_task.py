"""A task of mteb as texts and judgements; what is none, or can't be loaded, is told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from patcher.errors import MissingRequirement, SourceError, UsageError
from patcher.retrieval.benchmark import _local
from patcher.verify.texts.beir import read_beir
from patcher.verify.texts.mteb_task import check_packages, read_data, read_task
from tests.verify.texts.test_beir import FILES, written

pytest.importorskip("mteb")


def test_the_data_of_a_task_is_what_mteb_judges_with(tmp_path: Path) -> None:
    data = read_beir(written(tmp_path / "set", FILES))
    task: Any = _local(data, "nob")
    found = read_data(task)
    assert (found.name, found.split, found.documents) == ("set", "test", data.documents)
    assert found.queries == data.judged and found.relevant == {"q1": {"d1": 2, "d2": 0}} and found.left_out == 0
    task.dataset["default"]["test"]["relevant_docs"] = {"q1": {"d1": 1, "gone": 1}, "q9": {"d1": 1}}
    task.load_data = lambda: None  # which would load it again
    found = read_data(task)
    assert found.relevant == {"q1": {"d1": 1}} and found.left_out == 2


def test_a_title_stands_before_its_text_as_in_a_folder(tmp_path: Path) -> None:
    from datasets import Dataset

    task: Any = _local(read_beir(written(tmp_path / "set", FILES)), "nob")
    task.load_data()
    rows = [{"id": "d1", "title": "Oslo", "text": "Hovedstaden."}, {"id": "d2", "title": None, "text": "Fjord."}]
    task.dataset["default"]["test"]["corpus"] = Dataset.from_list(rows)
    task.load_data = lambda: None
    assert read_data(task).documents == {"d1": "Oslo Hovedstaden.", "d2": "Fjord."}


def test_a_task_in_several_languages_is_refused_with_what_takes_it() -> None:
    with pytest.raises(UsageError, match=r"MIRACLRetrieval has 1[0-9] subsets, .* and so on") as caught:
        read_task("MIRACLRetrieval")
    assert "patcher evaluate --task" in str(caught.value.hint)


def test_no_task_is_wrong_usage_and_data_that_can_t_be_loaded_could_not_be_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As with HF_HUB_OFFLINE=1: nothing is waited for.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    for name in ("NoSuchTask", "SweRecClassification"):
        with pytest.raises(UsageError, match=name):
            read_task(name)
    with pytest.raises(SourceError, match="NorQuadRetrieval can't be evaluated"):
        read_task("NorQuadRetrieval")


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(MissingRequirement, match="Evaluating needs mteb, which is not installed") as found:
        check_packages({"no_such_module": "mteb", "json": "json"})
    assert found.value.hint == "pip install mteb"
