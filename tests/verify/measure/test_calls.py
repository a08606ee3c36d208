"""The batches of the modes, and what one call of a model shows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from patcher.verify.measure.calls import LONG, MODES, Batch, CannotRun, Mode, batches_of, call, checkpointing

TEXTS = ([5, 6, 7, 8, 9], [1, 2])
PAD = 0


class Tiny(nn.Module):
    """An embedding and a vocabulary projection; `answer` makes the output of its logits, `seen` are its calls."""

    def __init__(self, **answer: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.config = SimpleNamespace()
        self.embedding, self.head = nn.Embedding(10, 4), nn.Linear(4, 10)
        self.dropout = nn.Dropout(0.5)
        self.answer = answer
        self.seen: list[dict[str, Any]] = []

    def get_input_embeddings(self) -> nn.Module:
        if self.answer.get("hidden"):
            raise NotImplementedError
        return self.embedding

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, input_ids: torch.Tensor, **arguments: Any) -> Any:
        self.seen.append({**arguments, "training": self.training, "gradient": torch.is_grad_enabled()})
        hidden = self.dropout(self.embedding(input_ids))
        logits = self.head(hidden.detach() if self.answer.get("detached") else hidden)
        loss = logits.mean() * self.answer.get("scale", 1.0) if "labels" in arguments else None
        if arguments.get("return_dict") is False:
            return (logits,) if loss is None else (loss, logits)
        return {"loss": loss, "logits": logits}


@pytest.fixture
def batches() -> dict[str, Batch]:
    return batches_of(TEXTS, PAD, "cpu")


def test_batches_are_padded_on_both_sides_and_hold_the_same_texts(batches: dict[str, Batch]) -> None:
    right, left, one, long = (batches[name] for name in ("right", "left", "one", "long"))
    assert right.ids.tolist() == [[5, 6, 7, 8, 9, 5, 6, 7], [1, 2, 1, 2, PAD, PAD, PAD, PAD]]
    assert left.ids.tolist() == [[5, 6, 7, 8, 9, 5, 6, 7], [PAD, PAD, PAD, PAD, 1, 2, 1, 2]]
    assert one.ids.tolist() == [[1, 2, 1, 2]] and bool(one.mask.all())
    assert long.ids.shape == (1, LONG) and LONG > 512
    for batch in batches.values():
        for text, rows in batch.rows(batch.ids).items():
            assert bool((rows != PAD).all())
            assert torch.equal(rows, one.ids[0]) if text == 1 else len(rows) in {8, LONG}


def test_padding_has_no_label_and_a_result_of_a_whole_text_is_its_row(batches: dict[str, Batch]) -> None:
    classes = torch.arange(6).view(2, 3)
    assert [row.tolist() for row in batches["right"].rows(classes).values()] == [[[0, 1, 2]], [[3, 4, 5]]]


@pytest.mark.parametrize(
    "mode", [mode for mode in MODES if mode.name != "gradient_checkpointing"], ids=lambda m: m.name
)
def test_a_call_is_what_the_mode_says_and_leaves_the_model_as_it_was(mode: Mode, batches: dict[str, Batch]) -> None:
    model = Tiny().eval()
    found = call(model, mode, batches[mode.batch])
    (seen,) = model.seen
    assert seen["training"] is mode.train and seen["gradient"] is mode.gradient
    assert ("labels" in seen) is mode.labels and ("attention_mask" in seen) is mode.masked
    assert mode.arguments.items() <= seen.items()
    assert (found.loss is not None) is mode.labels and not found.unreached
    assert not model.training and model.dropout.p == 0.5
    assert all(one.grad is None for one in model.parameters())


def test_dropout_layers_are_off_where_the_mode_says_so(batches: dict[str, Batch]) -> None:
    model = Tiny().eval()
    plain = call(model, Mode("plain"), batches["right"]).result
    assert not torch.equal(call(model, Mode("train", train=True), batches["right"]).result, plain)
    assert torch.equal(call(model, Mode("train", train=True, dropout=False), batches["right"]).result, plain)


@pytest.mark.parametrize(
    ("answer", "labels", "unreached"),
    [
        ({}, False, ()),
        ({"detached": True}, False, ("embeddings",)),
        ({"scale": 0.0}, True, ("embeddings",)),  # the farther end tells, and costs less than the weight
        ({"scale": float("nan")}, True, ("embeddings",)),
    ],
)
def test_an_end_that_no_finite_gradient_reaches_is_named(
    batches: dict[str, Batch], answer: dict[str, Any], labels: bool, unreached: tuple[str, ...]
) -> None:
    model = Tiny(**answer).eval()
    found = call(model, Mode("one", gradient=True, labels=labels), batches["right"])
    assert found.unreached == unreached
    assert all(one.grad is None for one in model.parameters()) and not model.embedding._forward_hooks


def test_a_model_that_hides_its_embeddings_is_run_all_the_same(batches: dict[str, Batch]) -> None:
    model = Tiny(hidden=True).eval()
    assert call(model, Mode("one", gradient=True), batches["right"]).unreached == ()


def test_a_result_without_any_gradient_reaches_nothing(batches: dict[str, Batch]) -> None:
    model = Tiny().eval()
    model.forward = torch.no_grad()(model.forward)  # type: ignore[method-assign]
    assert "vocabulary projection" in call(model, Mode("one", gradient=True), batches["right"]).unreached


def test_code_without_gradient_checkpointing_can_t_run_it() -> None:
    with pytest.raises(CannotRun, match="no gradient checkpointing"), checkpointing(Tiny()):
        pass


@pytest.mark.parametrize("detached", [False, True])
def test_a_whole_backward_pass_leaves_no_gradient_at_frozen_weights(batches: dict[str, Batch], detached: bool) -> None:
    model = Tiny(detached=detached).eval().requires_grad_(False)
    found = call(model, Mode("one", train=True, gradient=True, whole=True), batches["right"])
    assert found.unreached == (("embeddings",) if detached else ())
    assert all(one.grad is None for one in model.parameters())
