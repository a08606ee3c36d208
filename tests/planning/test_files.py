"""Each file of a source is carried over, converted or left out, by its name."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from transformers.modeling_utils import _get_resolved_checkpoint_files

from patcher.errors import HubUnreachable, SourceError
from patcher.planning.files import Weights, check_loadable, file_table, find_weights
from patcher.source.snapshot import File, Snapshot, Source

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLE, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
SHARDS = {
    INDEX: ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
    PICKLE_INDEX: ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"),
}


def weights_in(folder: Path) -> Weights:
    """The weights of a folder on the disk."""
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    return find_weights(paths, "", lambda path: (folder / path).read_bytes())


def write_index(folder: Path, name: str, *shards: str) -> None:
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": dict(zip("abc", shards, strict=False))}))
    for shard in shards:
        (folder / shard).touch()


@pytest.mark.parametrize(
    "path",
    [
        "model.onnx",
        "model.onnx_data",
        "onnx/model_quantized.onnx",
        "onnx/config.json",
        "openvino/openvino_model.xml",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "training_args.bin",
        "optimizer.pt",
        "tf_model.h5",
        "flax_model.msgpack",
        "model.gguf",
    ],
)
def test_exported_graphs_and_other_weights_are_left_out_with_a_reason(path: str) -> None:
    assert file_table([path, "model.safetensors"], ()).dropped[path]


@pytest.mark.parametrize("path", ["vocab.txt", "LICENSE", "assets/onnx.png", "1_Pooling/config.json", "binary.py"])
def test_everything_else_is_carried_over(path: str) -> None:
    assert file_table([path], ()).copied == (path,)


def test_the_weights_are_those_that_transformers_chooses(tmp_path: Path) -> None:
    """Each choice of files that may lie beside each other, with the function of transformers itself as the witness."""
    for count in range(1, 5):
        for chosen in combinations((SINGLE, INDEX, PICKLE, PICKLE_INDEX), count):
            folder = tmp_path / "+".join(chosen)
            folder.mkdir()
            for name in ("model.fp16.safetensors", "adapter_model.safetensors", "consolidated.safetensors"):
                (folder / name).touch()
            for name in chosen:
                write_index(folder, name, *SHARDS[name]) if name in SHARDS else (folder / name).touch()
            theirs, _ = _get_resolved_checkpoint_files(str(folder), None, None, None, None, is_remote_code=True)
            assert [str(folder / path) for path in weights_in(folder).files] == theirs, chosen
            shutil.rmtree(folder)


@pytest.mark.parametrize(
    "path",
    [
        "model.fp16.safetensors",
        "adapter_model.safetensors",
        "model-00001-of-00002.safetensors",
        "sub/model.safetensors",
        "model.safetensors.index.json",
        "optimizer.safetensors",
        "checkpoint-100/model.safetensors",
        "checkpoint-100/config.json",
        "global_step200/zero_to_fp32.py",
        "trainer_state.json",
    ],
)
def test_what_lies_beside_the_weights_is_left_out_with_a_reason(path: str) -> None:
    table = file_table([SINGLE, path], (), [Weights((SINGLE,))])
    assert table.copied == (SINGLE,) and table.dropped[path]


def test_shards_of_pickles_are_those_that_their_index_names(tmp_path: Path) -> None:
    write_index(tmp_path, PICKLE_INDEX, "pytorch_model-00001-of-00001.bin")
    (tmp_path / "pytorch_model-00009-of-00009.bin").touch()
    table = file_table([path.name for path in tmp_path.iterdir()], (), [weights_in(tmp_path)])
    assert table.converted == {
        "model-00001-of-00001.safetensors": "pytorch_model-00001-of-00001.bin",
        INDEX: PICKLE_INDEX,
    }
    assert set(table.dropped) == {"pytorch_model-00009-of-00009.bin"}


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"metadata": {}, "weight_map": {}}',
        '{"metadata": {}, "weight_map": {"a": "x.bin"}}',
        '{"weight_map": {"a": "x.safetensors"}}',
        '{"metadata": null, "weight_map": {"a": "x.safetensors"}}',
        '\ufeff{"metadata": {}, "weight_map": {"a": "x.safetensors"}}',
    ],
)
def test_an_index_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / INDEX).write_text(content, "utf-8")
    with pytest.raises(SourceError, match=r"model\.safetensors\.index\.json is not an index of weights"):
        weights_in(tmp_path)


@pytest.mark.parametrize(
    ("weights", "pickled", "why"),
    [
        (Weights(), True, "has no weights: neither safetensors nor"),
        (Weights((PICKLE,)), False, "no safetensors"),
        (Weights(("here", "lost"), "index"), True, "lacks lost, which index names"),
    ],
)
def test_weights_that_cannot_be_loaded_are_refused(weights: Weights, pickled: bool, why: str) -> None:
    snapshot = Snapshot(Source(None, None, "x"), (File(PICKLE, 1), File("here", 1)), None)
    check_loadable(snapshot, [Weights((PICKLE,)), Weights(("here",))], pickled=True)
    with pytest.raises(SourceError, match=why):
        check_loadable(snapshot, [weights], pickled=pickled)
    with pytest.raises(HubUnreachable, match=f"{why.partition(',')[0]}.* in the local Hub cache"):
        check_loadable(replace(snapshot, complete=False), [weights], pickled=pickled)
