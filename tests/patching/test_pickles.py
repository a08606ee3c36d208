"""A pickle is read without running code, and becomes safetensors with the same names, types, shapes and bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from patcher.patching.pickles import convert, read_pickle


def saved(content: object, folder: Path) -> str:
    torch.save(content, folder / "weights.bin")
    return str(folder / "weights.bin")


def test_tensors_keep_their_names_types_and_bytes(tmp_path: Path) -> None:
    tensors = {"a": torch.tensor([float("nan"), -0.0]), "b": torch.arange(6, dtype=torch.int8).reshape(2, 3)}
    done = convert(saved(tensors, tmp_path), str(tmp_path / "out.safetensors"))
    written = load_file(tmp_path / "out.safetensors")
    assert (done.tensors, done.differing, done.tied, done.refused) == (2, (), (), None)
    assert all(torch.equal(written[name].view(torch.uint8), tensors[name].view(torch.uint8)) for name in tensors)


def test_names_of_one_memory_are_told_and_written_for_each(tmp_path: Path) -> None:
    one = torch.ones(3)
    done = convert(saved({"a": one, "b": one}, tmp_path), str(tmp_path / "out.safetensors"))
    assert done.tied == (("a", "b"),) and set(load_file(tmp_path / "out.safetensors")) == {"a", "b"}


@pytest.mark.parametrize(
    "content", [[torch.ones(1)], {}, {1: torch.ones(1)}, {"a": 1}, {"a": torch.eye(2).to_sparse()}]
)
def test_what_is_no_mapping_of_names_to_dense_tensors_is_refused(content: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"it holds|its entry|its tensor"):
        read_pickle(saved(content, tmp_path))


def test_a_refused_file_names_the_reason_and_writes_nothing(tmp_path: Path) -> None:
    done = convert(saved({"a": Path("x")}, tmp_path), str(tmp_path / "out.safetensors"))
    assert done.refused is not None and done.refused.startswith("reading it would run code")
    assert not (tmp_path / "out.safetensors").exists()
