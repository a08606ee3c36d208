"""A patched model is loaded as its users do, the base model on the same weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from patcher.patching.record import load
from patcher.verify.measure import models
from patcher.verify.measure.models import (
    changed_tensors,
    nan_filled_memory,
    non_persistent,
    unmatched_tensors,
    untouched_parameters,
    wrong_buffers,
)
from patcher.verify.requests import prepare
from tests.codemods.loading import module
from tests.codemods.tables import TABLES
from tests.verify.running import wanted


def test_weights_are_shared_and_not_loaded_twice(patched: Path, tmp_path: Path) -> None:
    from patcher.verify.measure.models import fresh_model, load_as_users_do, share_weights

    request = prepare(load(patched), tmp_path / "scratch", wanted("a"), "cpu")
    model, _ = load_as_users_do(request.patched)
    base = share_weights(fresh_model(request.base.folder), model, request.encoders[0].weights)
    places = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    assert {name: tensor.data_ptr() for name, tensor in base.state_dict().items()} == places
    assert not any(parameter.is_meta for parameter in (*base.parameters(), *base.buffers()))


def test_input_and_output_matrices_stay_two(patched: Path) -> None:
    from patcher.verify.measure.models import load_as_users_do

    model, _ = load_as_users_do(str(patched))
    assert not torch.equal(model.classifier.emb2vocab.weight, model.embedding.word_embedding.weight)


class Tiny(nn.Module):
    """Two layers, the second tied to the first or not, and a buffer that no checkpoint holds."""

    def __init__(self, tied: bool = False, table: float = 1.0) -> None:
        super().__init__()
        self.one = nn.Linear(2, 2, bias=False)
        self.other = nn.Linear(2, 2, bias=False)
        if tied:
            self.other.weight = self.one.weight
        self.register_buffer("table", torch.full((3,), table), persistent=False)


def test_a_tensor_that_differs_or_that_only_one_side_has_is_changed(tmp_path: Path) -> None:
    model, path = Tiny(), str(tmp_path / "a.safetensors")
    save_file({"one.weight": model.one.weight.detach().clone(), "third": torch.ones(1)}, path)
    assert changed_tensors(model, [path]) == ["other.weight", "third"]
    with torch.no_grad():
        model.one.weight[0, 0] += 1
    assert changed_tensors(model, [path]) == ["one.weight", "other.weight", "third"]


def test_a_tied_tensor_needs_no_copy_in_the_checkpoint(tmp_path: Path) -> None:
    model, path = Tiny(tied=True), str(tmp_path / "a.safetensors")
    save_file({"one.weight": model.one.weight.detach().clone()}, path)
    assert changed_tensors(model, [path]) == []


def test_what_neither_model_shares_with_the_checkpoint_is_no_difference_between_them(tmp_path: Path) -> None:
    path = str(tmp_path / "a.safetensors")
    save_file({"one.weight": torch.ones(2, 2), "third": torch.ones(1)}, path)
    assert unmatched_tensors(Tiny(), Tiny(), [path]) == ({"third"}, {"other.weight"})
    assert unmatched_tensors(Tiny(tied=True), Tiny(), [path]) == ({"third"}, set()), "the file has what it is tied to"
    larger = Tiny()
    larger.third = nn.Parameter(torch.ones(1))
    del larger.other
    for model, base in ((larger, Tiny()), (Tiny(), larger)):
        assert unmatched_tensors(model, base, [path]) == (set(), set()), "a difference between the models"


def test_a_buffer_that_differs_from_a_fresh_one_or_is_gone_is_wrong() -> None:
    fresh = Tiny()
    assert non_persistent(fresh) == {"table"}
    assert wrong_buffers(Tiny(), fresh) == (1, [])
    assert wrong_buffers(Tiny(table=2.0), fresh) == (1, ["table"])
    gone = Tiny()
    del gone.table
    assert wrong_buffers(gone, fresh) == (1, ["table"])


@pytest.mark.parametrize("change", ["value", "dtype", "memory", "missing"])
def test_an_attribute_that_differs_from_a_fresh_one_is_wrong(change: str) -> None:
    fresh, loaded = Tiny(), Tiny()
    fresh.one.tables = {"cos": [torch.ones(2)]}
    other = {"value": torch.zeros(2), "dtype": torch.ones(2).half(), "memory": torch.ones(2, device="meta")}
    loaded.one.tables = {"cos": [other[change]] if change in other else []}
    loaded.one.weight_of_a_norm = fresh.one.weight * 2  # computed again by each forward pass
    assert wrong_buffers(loaded, fresh) == (2, ["one.tables.cos.0"])
    loaded.one.tables = {"cos": [torch.ones(2)]}
    assert wrong_buffers(loaded, fresh) == (2, [])


@pytest.mark.parametrize("name", ["made by torch.nn.init", "an _init_weights that writes both"])
def test_a_fresh_model_fills_its_tables_and_no_parameter(name: str) -> None:
    (table,) = [one for one in TABLES if one.name == name]
    tiny = module("tiny_fresh", table.code())
    with nan_filled_memory(), untouched_parameters():
        model = tiny.TinyModel(tiny.TinyConfig())
    buffers = dict(model.named_buffers())
    assert buffers and not any(buffer.isnan().any() for buffer in buffers.values())
    assert buffers.get("rot.cos", torch.tensor(0.5)).eq(0.5).all()
    assert model.embed.weight.isnan().all() and model.proj.weight.isnan().all()


def test_uninitialised_memory_is_nan_meanwhile_and_not_afterwards() -> None:
    mode = torch.get_deterministic_debug_mode()
    with nan_filled_memory():
        assert all(math.isnan(value) for value in torch.empty(100).tolist())
    assert torch.get_deterministic_debug_mode() == mode


def test_a_checkpoint_is_opened_for_many_tensors_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "model.safetensors")
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(8)))
    save_file(model.state_dict(), path)
    opened: list[str] = []

    def noted(name: str, **options: Any) -> Any:
        opened.append(name)
        return safe_open(name, **options)

    monkeypatch.setattr(models, "safe_open", noted)
    assert changed_tensors(model, [path]) == [] and len(opened) == 1
    monkeypatch.setattr(models, "_MAPPED", 160)  # bytes: two layers
    assert changed_tensors(model, [path]) == [] and len(opened) == 5
    model[0].weight.data[0, 0] += 1
    assert changed_tensors(model, [path]) == ["0.weight"]
