"""One pickle becomes one safetensors file with equal tensors, and is read without running anything."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from patcher.patching.messages import ConvertedFile
from patcher.patching.pickles import convert, read_pickle


@pytest.mark.parametrize(
    "content",
    [{"model": {"a": torch.zeros(1)}}, {"epoch": 3}, [torch.zeros(1)], {}, {"a": torch.zeros(2, 2).to_sparse()}],
    ids=["nested", "a number", "a list", "empty", "sparse"],
)
def test_what_is_not_a_tensor_for_each_name_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.bin")
    found = convert(str(tmp_path / "a.bin"), str(tmp_path / "a.safetensors"))
    assert found.refused and not (tmp_path / "a.safetensors").exists()


def test_bytes_that_are_no_checkpoint_are_refused(tmp_path: Path) -> None:
    for content in (b"", b"not a pickle at all", b"PK\x03\x04broken"):
        (tmp_path / "a.bin").write_bytes(content)
        assert "torch checkpoint" in (convert(str(tmp_path / "a.bin"), str(tmp_path / "a.safetensors")).refused or "")


def test_every_way_tensors_lie_in_memory_is_carried_over(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "whole": base,
        "again": base,
        "turned": base.T,
        "a part": base[1],
        "half": base.to(torch.float16),
        "brain": base.to(torch.bfloat16),
        "not a number": torch.tensor([float("nan"), float("inf"), -0.0]),
        "scalar": torch.tensor(5),
        "bool": torch.tensor([True, False]),
        "empty": torch.zeros(0, 4),
        "also empty": torch.zeros(0, 4),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    torch.save(tensors, tmp_path / "new.bin")
    torch.save(tensors, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    for form in ("new", "old"):
        found = convert(str(tmp_path / f"{form}.bin"), str(tmp_path / f"{form}.safetensors"))
        assert found == ConvertedFile(12, (), (("whole", "again"),), None)
        made = load_file(tmp_path / f"{form}.safetensors")
        for name, tensor in tensors.items():
            assert made[name].dtype == tensor.dtype and torch.equal(
                made[name].nan_to_num(7), tensor.detach().nan_to_num(7)
            )


def test_a_tensor_that_reads_back_otherwise_is_found(tmp_path: Path) -> None:
    from patcher.patching.pickles import _differing

    torch.save({"a": torch.tensor([0.0]), "b": torch.ones(2), "c": torch.ones(1)}, tmp_path / "a.bin")
    wrong = {"a": torch.tensor([-0.0]), "b": torch.ones(2, dtype=torch.float64), "d": torch.ones(1)}
    save_file(wrong, tmp_path / "a.safetensors")
    found = _differing(read_pickle(str(tmp_path / "a.bin")), str(tmp_path / "a.safetensors"))
    assert found == ["a", "b", "c", "d"]


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
