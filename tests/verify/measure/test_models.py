"""A patched model is loaded as its users do, the base model on the same weights."""

from __future__ import annotations

from pathlib import Path

import torch

from patcher.patching.record import load
from patcher.verify.requests import prepare
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
