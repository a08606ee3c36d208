"""The parts of a SparseEncoder folder, from small JSON files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import SourceError
from patcher.planning.layout import Layout, find_layout, loaded_folders, loaded_weights, model_folders, read_layout
from patcher.source.snapshot import resolve

ENCODER = {"auto_map": {"AutoModelForMaskedLM": "modeling.Head"}}
PLAIN = [
    {"idx": 0, "path": "", "type": "sentence_transformers.sparse_encoder.models.MLMTransformer"},
    {"idx": 1, "path": "1_SpladePooling", "type": "sentence_transformers.sparse_encoder.models.SpladePooling"},
]
ROUTED = [{"idx": 0, "path": "", "type": "sentence_transformers.models.Router"}]
ROUTER = {
    "types": {
        "query_0": "models.SparseStaticEmbedding",
        "document_0": "models.MLMTransformer",
        "document_1": "models.SpladePooling",
    },
    "structure": {"query": ["query_0"], "document": ["document_0", "document_1"]},
}


def write(folder: Path, **files: Any) -> Path:
    """JSON files of a folder; `__` stands for a slash."""
    for name, content in files.items():
        path = folder / (name.replace("__", "/") + ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), "utf-8")
    return folder


def layout_of(folder: Path) -> Layout:
    return read_layout(resolve(str(folder)))


def test_the_transformer_of_a_splade_model_is_its_encoder(tmp_path: Path) -> None:
    layout = layout_of(write(tmp_path, modules=PLAIN, config=ENCODER))
    assert (layout.encoders, layout.uncapped_tasks, layout.threshold) == (("",), (), None)
    assert [entry["path"] for entry in layout.modules] == ["", "1_SpladePooling"]


@pytest.mark.parametrize("name", ["router_config", "config"])
def test_a_route_without_splade_pooling_is_uncapped(tmp_path: Path, name: str) -> None:
    layout = layout_of(write(tmp_path, modules=ROUTED, document_0__config=ENCODER, **{name: ROUTER}))
    assert (layout.encoders, layout.uncapped_tasks) == (("document_0",), ("query",))


def test_files_of_modules_belong_to_the_model_and_checkpoints_and_exports_do_not(tmp_path: Path) -> None:
    write(tmp_path, modules=PLAIN, config=ENCODER, checkpoint_500__config=ENCODER, onnx__config=ENCODER)
    write(tmp_path / "1_SpladePooling", config={}, deeper__config={})
    for name in ("README.md", "model.onnx", "pytorch_model.bin"):
        (tmp_path / name).touch()
    layout = layout_of(tmp_path)
    assert set(layout.files) == {
        *(
            "README.md",
            "config.json",
            "modules.json",
            "1_SpladePooling/config.json",
            "1_SpladePooling/deeper/config.json",
        ),
    }


def test_weights_that_no_module_loads_do_not_belong_to_the_model(tmp_path: Path) -> None:
    write(tmp_path, modules=PLAIN, config=ENCODER)
    for name in ("model.safetensors", "model.fp16.safetensors", "adapter_model.safetensors"):
        (tmp_path / name).touch()
    assert {path for path in layout_of(tmp_path).files if path.endswith(".safetensors")} == {"model.safetensors"}


def test_each_module_has_weights_of_its_own(tmp_path: Path) -> None:
    modules = [PLAIN[0], {"idx": 1, "path": "2_Dense", "type": "sentence_transformers.models.Dense"}]
    write(tmp_path, modules=modules, config=ENCODER)
    (tmp_path / "2_Dense").mkdir()
    for name in ("model.safetensors", "2_Dense/pytorch_model.bin"):
        (tmp_path / name).touch()
    snapshot = resolve(str(tmp_path))
    assert model_folders(snapshot) == ("", "2_Dense")
    found = [(one.files, one.pickled) for one in loaded_weights(snapshot, ("", "2_Dense"))]
    assert found == [(("model.safetensors",), False), (("2_Dense/pytorch_model.bin",), True)]


def test_a_model_is_loaded_from_the_folders_of_its_record_and_of_its_modules(tmp_path: Path) -> None:
    normalize = {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}  # saves no file
    write(tmp_path, modules=[*PLAIN, normalize], config=ENCODER)
    recorded = ["config.json", "modules.json", "sub/vocab.txt"]
    assert loaded_folders(tmp_path, recorded) == {"", "sub", "1_SpladePooling", "2_Normalize"}
    assert loaded_folders(tmp_path, recorded[::2]) == {"", "sub"}, "its modules.json was added"
    for unreadable in ({}, ROUTED):
        write(tmp_path, modules=unreadable)
        assert loaded_folders(tmp_path, recorded) == {"", "sub"}


@pytest.mark.parametrize("config", [{}, [], {**ROUTER, "types": {}}, {**ROUTER, "structure": {"query": 1}}])
def test_a_router_that_is_not_described_is_refused(tmp_path: Path, config: Any) -> None:
    with pytest.raises(SourceError, match="does not describe a Router"):
        find_layout(resolve(str(write(tmp_path, modules=ROUTED, router_config=config))))


def test_a_threshold_that_the_model_has_is_read(tmp_path: Path) -> None:
    own = {"idx": 2, "path": "2_SparseThreshold", "type": "sparse_threshold.SparseThreshold"}
    write(tmp_path, modules=[*PLAIN, own], config=ENCODER)
    write(tmp_path / "2_SparseThreshold", config={"threshold": 12.5})
    assert layout_of(tmp_path).threshold == 12.5


@pytest.mark.parametrize(
    ("modules", "config", "why"),
    [
        (PLAIN[:1], ENCODER, "no SpladePooling"),
        (PLAIN, {}, "no masked LM"),
        (PLAIN, {"auto_map": None}, "no masked LM"),
    ],
)
def test_another_model_of_sentence_transformers_has_no_layout(
    tmp_path: Path, modules: list[Any], config: dict[str, Any], why: str
) -> None:
    write(tmp_path, modules=modules, config=config)
    assert find_layout(resolve(str(tmp_path))) is None
    with pytest.raises(SourceError, match=why):
        layout_of(tmp_path)


@pytest.mark.parametrize("modules", [{}, [1], [{"path": ""}]])
def test_a_list_of_modules_that_is_none_is_refused(tmp_path: Path, modules: Any) -> None:
    with pytest.raises(SourceError, match="not a list of modules"):
        find_layout(resolve(str(write(tmp_path, modules=modules, config=ENCODER))))


def test_a_model_without_modules_is_no_sparse_encoder(tmp_path: Path) -> None:
    write(tmp_path, config=ENCODER)
    assert find_layout(resolve(str(tmp_path))) is None
    with pytest.raises(SourceError, match=r"no modules\.json"):
        layout_of(tmp_path)


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_modules_that_are_no_json_are_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path, config=ENCODER)
    (tmp_path / "modules.json").write_text(text)
    with pytest.raises(SourceError, match="not valid JSON"):
        layout_of(tmp_path)
