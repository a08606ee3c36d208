"""Each file of a source is carried over, converted or left out, by its name."""

from __future__ import annotations

import pytest

from patcher.planning.files import file_table


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
