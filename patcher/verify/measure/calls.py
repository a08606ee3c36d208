"""In the child: calls a model in one mode of use, on a few texts, and keeps what the call shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from patcher.verify.measure.outputs import gives_rows, shaped, targets

TOKENS, FEWEST, LONG = 8, 4, 520  # lengths of the two short texts and of the long one
TOGETHER = -1  # in the place of a text
SEED = 20  # any number: all models get the same

Rows = Mapping[int, torch.Tensor]  # what a model returns for each text, without its padding


class CannotRun(Exception):
    """A model does not have a mode; says why."""


@dataclass(frozen=True)
class Batch:
    """Token ids and attention mask [texts, tokens]; `spans` maps texts to first and end of their tokens, row by row.

    `auto_class` is that of the model which they are for.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    spans: Mapping[int, tuple[int, int]]
    auto_class: str

    def rows(self, result: torch.Tensor) -> dict[int, torch.Tensor]:
        """The rows of a result [texts, tokens, ...] that belong to each text; of [texts, ...] its only one.

        A result with other rows, such as those of labelled tokens alone, belongs to all texts together.
        """
        if len(result) != len(self.spans):
            return {TOGETHER: result}
        by_token = gives_rows(self.auto_class) and result.ndim > 1 and result.shape[1] == self.ids.shape[1]
        rows = zip(result, self.spans.items(), strict=True)
        return {text: row[first:end] if by_token else row[None] for row, (text, (first, end)) in rows}


def batches_of(
    texts: Sequence[Sequence[int]], pad: int, device: str, auto_class: str = "AutoModelForMaskedLM"
) -> dict[str, Batch]:
    """Two short texts padded on the `right` and on the `left`, the shorter `one` of them, and a `long` text.

    They are made of the token ids in `texts`, repeated or truncated to the lengths above.
    """
    short = {0: _of_length(texts[0], TOKENS), 1: _of_length(texts[-1], FEWEST)}
    long = {2: _of_length([token for ids in texts for token in ids], LONG)}
    return {
        "right": _batch(short, pad, device, auto_class),
        "left": _batch(short, pad, device, auto_class, left=True),
        "one": _batch({1: short[1]}, pad, device, auto_class),
        "long": _batch(long, pad, device, auto_class),
    }


def _of_length(ids: Sequence[int], length: int) -> list[int]:
    return (list(ids) * (length // len(ids) + 1))[:length]


def _batch(texts: Mapping[int, Sequence[int]], pad: int, device: str, auto_class: str, *, left: bool = False) -> Batch:
    width = max(map(len, texts.values()))
    spans = {text: (width - len(ids), width) if left else (0, len(ids)) for text, ids in texts.items()}
    ids = torch.full((len(texts), width), pad, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, (text, (first, end)) in enumerate(spans.items()):
        ids[row, first:end] = torch.tensor(texts[text])
        mask[row, first:end] = 1
    return Batch(ids.to(device), mask.to(device), spans, auto_class)


@contextmanager
def autocast(dtype: torch.dtype, model: nn.Module) -> Iterator[None]:
    """Autocast to a dtype on the device of a model."""
    with torch.autocast(device_of(model), dtype):
        yield


def unsaved() -> AbstractContextManager[Any]:
    """Let graphs have their structure alone, without what a backward pass would need: here, a copy of all weights.

    Code that computes a gradient of its own in `forward` raises CannotRun.
    """
    return torch.autograd.graph.saved_tensors_hooks(lambda _: None, _no_backward)


def _no_backward(_: None) -> torch.Tensor:
    raise CannotRun("its code computes gradients itself")


@contextmanager
def checkpointing(model: Any) -> Iterator[None]:
    """Gradient checkpointing, with the weights frozen: only a whole backward pass takes it, and theirs would be dear.

    Raises CannotRun if the model's code has none.
    """
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise CannotRun("its code has no gradient checkpointing")
    trained = [one for one in model.parameters() if one.requires_grad]
    model.gradient_checkpointing_enable()
    model.requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        for one in trained:
            one.requires_grad_()
        model.gradient_checkpointing_disable()
        model.disable_input_require_grads()  # a hook that enabling it leaves


@dataclass(frozen=True)
class Mode:
    """One kind of call: a batch, arguments of `forward`, and what is switched on around it.

    With a `gradient`, the graph has to lead to the model's ends, and unless it is only `linked`, the gradient is
    computed: by a `whole` backward pass, or by one to the ends alone. `equal` names the mode whose result it has to
    repeat. A model alone need not support an `optional` mode.
    """

    name: str
    batch: str = "right"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    train: bool = False
    dropout: bool = True
    gradient: bool = False
    labels: bool = False
    masked: bool = True
    around: Callable[[Any], AbstractContextManager[Any]] = lambda _: nullcontext()
    linked: bool = False
    whole: bool = False
    equal: str | None = None
    optional: bool = False


PLAIN, ONE, LONGER = "right_padding", "batch_of_one", "more_than_512_tokens"
TRAIN, NO_DROPOUT = "train", "train_without_dropout"
_TUPLE = {"return_dict": False}
_BF16, _FP16 = partial(autocast, torch.bfloat16), partial(autocast, torch.float16)
SAVED = Mode("saved_and_loaded", batch="one", equal=ONE)
# A short text alone costs the least: most of a short pass is reading the weights.
MODES = (
    Mode(PLAIN),
    Mode("left_padding", batch="left"),
    Mode(ONE, batch="one", equal=PLAIN),
    Mode("no_attention_mask", batch="one", masked=False, equal=ONE, optional=True),
    Mode(LONGER, batch="long"),
    Mode("tuple_output", batch="one", arguments=_TUPLE, equal=ONE),
    Mode("hidden_states", batch="one", arguments={"output_hidden_states": True}, equal=ONE, optional=True),
    Mode("attentions", batch="one", arguments={"output_attentions": True}, equal=ONE, optional=True),
    Mode("gradient", batch="one", gradient=True, linked=True, equal=ONE),
    Mode("labels", gradient=True, labels=True, equal=PLAIN, optional=True),
    Mode("labels_and_tuple_output", batch="one", arguments=_TUPLE, labels=True, equal=ONE, optional=True),
    Mode(TRAIN, train=True, gradient=True),
    Mode(NO_DROPOUT, train=True, gradient=True, linked=True, dropout=False, equal=PLAIN),
    Mode("train_with_labels", train=True, gradient=True, labels=True, equal=TRAIN, optional=True),
    Mode("gradient_checkpointing", train=True, gradient=True, around=checkpointing, whole=True, equal=TRAIN),
    Mode("float16_autocast", batch="one", around=_FP16, optional=True),
    Mode("bfloat16_autocast", batch="one", train=True, gradient=True, linked=True, around=_BF16, optional=True),
)


@dataclass(frozen=True)
class Outcome:
    """What one call showed.

    `loss` is None where there is none. `unreached` names the ends of the model that a gradient should have got to. Of
    logits that are trained on one side, only the positive ones get a gradient from the loss.
    """

    result: torch.Tensor
    rows: Rows
    loss: float | None = None
    unreached: tuple[str, ...] = ()
    one_sided: bool = False


def long_outcome(rows: torch.Tensor) -> Outcome:
    """What a pass over a long text showed, of whose rows [tokens, values] some are kept, the last ones among them."""
    kept = rows[[*range(0, len(rows), TOKENS * 4), *range(len(rows) - TOKENS, len(rows))]]
    return Outcome(kept[None], {2: kept})


def call(model: nn.Module, mode: Mode, batch: Batch, *, backward: bool = True) -> Outcome:
    """Run a model in a mode and, if the mode has a gradient, `backward`: from the loss, or from a sum of the result."""
    inputs = {"input_ids": batch.ids, **({"attention_mask": batch.mask} if mode.masked else {})}
    arguments: dict[str, Any] = {**shaped(inputs, batch.auto_class), **mode.arguments}
    if mode.labels:
        arguments |= targets(batch.ids, batch.mask, batch.auto_class, getattr(model, "config", None))
    with (
        torch.set_grad_enabled(mode.gradient),
        unsaved() if mode.linked or not backward else nullcontext(),
        _prepared(model, mode),
        mode.around(model),
        _embedded(model) as embedded,
        _projected(model, mode) as projected,
    ):
        result, loss = _result(model(**arguments), labels=mode.labels)
        plain = result.detach()
        outcome = Outcome(plain, batch.rows(plain), None if loss is None else float(loss.detach()))
        if not mode.gradient or not backward:
            return outcome
        if mode.whole and not embedded:
            raise CannotRun("its code hides its embeddings, and all else is frozen")
        target = loss if mode.labels else _random_sum(batch.rows(result))
        unreached, gradients = _unreached(target, _ends(model, embedded), mode, projected)
        return replace(outcome, unreached=unreached, one_sided=any(map(_is_one_sided, projected, gradients)))


def _result(output: Any, *, labels: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The first result of a model, usually its logits, and its loss."""
    if isinstance(output, tuple):
        return (output[1], _number(output[0])) if labels and output[0].numel() == 1 else (output[0], None)
    results = {name: value for name, value in output.items() if isinstance(value, torch.Tensor)}
    loss = results.pop("loss", None)
    named = (results[name] for name in ("logits", "last_hidden_state", *results) if name in results)
    return next(named), None if loss is None else _number(loss)


def _number(loss: torch.Tensor) -> torch.Tensor:
    if loss.numel() != 1:
        raise CannotRun(f"its loss has {loss.numel()} values")
    return loss.reshape(())


def _random_sum(rows: Rows) -> torch.Tensor:
    """The sum of the rows of all texts, weighted at random."""
    generator = torch.Generator().manual_seed(SEED)
    weights = [torch.randn(row.shape, generator=generator).to(row.device) for row in rows.values()]
    return torch.stack([(row.float() * one).sum() for row, one in zip(rows.values(), weights, strict=True)]).sum()


@contextmanager
def _prepared(model: nn.Module, mode: Mode) -> Iterator[None]:
    """Switch to training or evaluation for the call, and turn dropout layers off where the mode says so."""
    layers = [] if mode.dropout else [part for part in model.modules() if isinstance(part, nn.Dropout)]
    before = [layer.p for layer in layers]
    model.train(mode.train)
    for layer in layers:
        layer.p = 0.0
    try:
        yield
    finally:
        model.eval()
        for layer, share in zip(layers, before, strict=True):
            layer.p = share


@contextmanager
def _embedded(model: Any) -> Iterator[list[torch.Tensor]]:
    """Give a list that gets the embedded tokens, whose gradient is that of all layers; empty where code hides them."""
    found: list[torch.Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Any) -> torch.Tensor | None:
        if not isinstance(output, torch.Tensor) or not torch.is_grad_enabled():
            return None
        output.requires_grad_().retain_grad()
        found.append(output)
        return output.clone()  # code may write into it

    module = None
    with suppress(NotImplementedError):
        module = model.get_input_embeddings()
    with _hooked(module, keep):
        yield found


@contextmanager
def _projected(model: Any, mode: Mode) -> Iterator[list[torch.Tensor]]:
    """Give a list that gets the raw logits which a loss is made of; empty where no module is the projection."""
    found: list[torch.Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.requires_grad:
            found.append(output)

    head = _head(model) if mode.labels else None
    layers = (part for part in model.modules() if not isinstance(part, nn.Embedding))  # whose weight may be the same
    owners = (part for part in layers if getattr(part, "weight", None) is head)
    with _hooked(None if head is None else next(owners, None), keep):
        yield found


@contextmanager
def _hooked(module: nn.Module | None, keep: Callable[..., Any]) -> Iterator[None]:
    """Call a hook after the forward pass of a module, if there is one."""
    handle = None if module is None else module.register_forward_hook(keep)
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()


def _ends(model: nn.Module, embedded: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors that a gradient has to get to."""
    head = _head(model)
    found = {} if head is None else {"vocabulary projection": head}
    return {**found, "embeddings": embedded[0]} if embedded else found


def _unreached(
    target: torch.Tensor | None, ends: Mapping[str, torch.Tensor], mode: Mode, logits: Sequence[torch.Tensor]
) -> tuple[tuple[str, ...], Sequence[torch.Tensor | None]]:
    """The names of those ends to which no finite gradient of `target` gets, or nothing but zeros; those of `logits`.

    Of ends that the graph leads to, the gradient is computed for the last one, the embeddings: what gets there went
    through the vocabulary projection, and the gradient of its weight takes as much memory as that.
    """
    if target is None or not target.requires_grad:
        return (*ends,) or ("embeddings",), ()
    missing = _unlinked(target, ends)
    if missing or mode.linked or not ends:
        return missing, ()
    if mode.whole:
        target.backward()  # type: ignore[no-untyped-call]
        return tuple(name for name, end in ends.items() if not _is_some(end.grad)), ()
    last = [*ends][-1]
    found, *of_logits = torch.autograd.grad(target, [ends[last], *logits], allow_unused=True)
    return () if _is_some(found) else (last,), of_logits


def _is_one_sided(logits: torch.Tensor, gradient: torch.Tensor | None) -> bool:
    """Whether a loss trains positive logits and leaves negative ones alone, in the rows [..., vocabulary] with labels.

    Such a loss rectifies them, which does nothing under a cap.
    """
    if gradient is None:
        return False
    reached = gradient != 0
    labelled = reached.any(-1, keepdim=True)
    positive, negative = (reached[labelled & side] for side in (logits > 0, logits < 0))
    return min(len(positive), len(negative)) > 0 and float(positive.float().mean()) > 0.5 and not bool(negative.any())


def _is_some(gradient: torch.Tensor | None) -> bool:
    return gradient is not None and 0 < float(gradient.abs().amax()) < math.inf


def _unlinked(target: torch.Tensor, ends: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """The names of those ends that the graph of `target` does not lead to."""
    seen, waiting = set(), [target.grad_fn]
    while waiting:
        if (node := waiting.pop()) is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
    leaves = {id(getattr(node, "variable", None)) for node in seen}
    return tuple(name for name, end in ends.items() if end.grad_fn not in seen and id(end) not in leaves)


def _head(model: Any) -> torch.Tensor | None:
    """The weight that the logits are made with, if the model has one and it can be trained."""
    found = model.get_output_embeddings()
    weight = getattr(found, "weight", found)
    # One that is computed from others is another tensor each time.
    return weight if isinstance(weight, torch.Tensor) and weight.requires_grad and weight.is_leaf else None


def device_of(model: nn.Module) -> str:
    """The kind of device that a model is on."""
    return next(model.parameters()).device.type
