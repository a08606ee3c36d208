"""In the child: runs a model in every mode that its users run it in, and compares what it returns.

A head can be right in one mode and wrong in another: a branch on `self.training`, on labels, on the length of a text or
on the form of the result changes the logits only there. Each mode runs on the same few texts with the same random
numbers. Its result is compared with that of a reference model in the same mode, and with what the model itself returns
in a simpler mode, if the two must be equal.
"""

from __future__ import annotations

import math
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import modeling_utils

from patcher.constants import CONTEXT_KEYS, WEIGHTS
from patcher.sandbox.hook import FILE_SIZE
from patcher.verify.measure.calls import (
    MODES,
    NO_DROPOUT,
    ONE,
    PLAIN,
    SAVED,
    SEED,
    TOGETHER,
    TRAIN,
    CannotRun,
    Mode,
    Outcome,
    Rows,
    batches_of,
    call,
    device_of,
)
from patcher.verify.measure.comparison import is_dropped
from patcher.verify.measure.hardware import computed_dtype, is_out_of_memory
from patcher.verify.measure.models import LoadSpec, holds, load_as_users_do
from patcher.verify.messages import ModeResult

MAX_SAVED = 1_000_000_000  # bytes of weights that are written
MAX_TENSOR = FILE_SIZE - 1_000_000  # bytes of its largest tensor, which its file holds beside a header
SHARD = 128_000_000  # bytes of a saved file
_BY_NAME = {mode.name: mode for mode in MODES}
_REPEATED = {mode.equal for mode in MODES}
_FEWER = 0.25  # share of the negative logits of plain evaluation that has to be there in every mode

Transform = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Reference:
    """A model to compare with: what it computes equals `transform` of what the other one computes.

    `name` is for messages. If `uncapped`, the other one's results are logits that have to be negative in part. If
    `drops_bos`, its first row is zero and the reference's is not.
    """

    model: nn.Module
    transform: Transform
    name: str = "the base model"
    uncapped: bool = True
    drops_bos: bool = False


class Modes:
    """Runs a model, on its device, in one mode after the other.

    `texts` are token ids, at least one of them; `pad` is the id to pad with; `auto_class` loaded the model. `known` are
    results that the model and the reference gave in a mode, which need not be run again.
    """

    def __init__(
        self,
        model: nn.Module,
        texts: Sequence[Sequence[int]],
        pad: int,
        reference: Reference | None = None,
        auto_class: str = "AutoModelForMaskedLM",
        known: Mapping[str, tuple[Outcome, Outcome]] = MappingProxyType({}),
    ) -> None:
        self._model, self._reference, self._known = model, reference, known
        self._batches = batches_of(texts, pad, device_of(model), auto_class)
        self._limit = _max_tokens(model)
        self._seen: dict[str, Outcome] = {}  # what other modes have to repeat
        self._expected: Outcome | Exception | None = None  # what the reference gave for one text

    def run(self, modes: Sequence[Mode] = MODES) -> Iterator[ModeResult]:
        """The result of each mode. A mode to be repeated by another one comes before it."""
        for mode in modes:
            yield self._run(mode, self._model)

    def save_and_load(self, folder: str, spec: LoadSpec, scratch: Path, linked: str | None) -> ModeResult:
        """Save the model as a training does, load it as a user does, and run that one.

        `folder` holds its code. `linked` has nothing but the weights: if they are those to save, none are written. This
        is the last mode: both models lose their weights, so that those that are loaded need no more memory.
        """
        device = device_of(self._model)
        with tempfile.TemporaryDirectory(prefix="saved-", dir=scratch) as target:
            try:
                place = _save(self._model, target, linked)
                if self._reference:
                    self._expectation(_BY_NAME[ONE], self._reference)
                    _release(self._reference.model)
                _release(self._model)
                loaded, lost = _load(place, Path(folder), spec)
            except Exception as error:
                return self._stopped(SAVED, error)
            if lost:
                return ModeResult(SAVED.name, wrong=f"it does not load what it saved: {', '.join(lost[:3])}")
            return self._run(SAVED, loaded.to(device))

    def _run(self, mode: Mode, model: nn.Module) -> ModeResult:
        """What one mode shows. The reference need not run if the model repeats to the bit what was compared before."""
        reference, tokens = self._reference, self._batches[mode.batch].ids.shape[1]
        if self._limit is not None and tokens > self._limit:
            return ModeResult(mode.name, not_run=f"the model takes no more than {self._limit} tokens")
        found = self._same_call(mode) or self._attempt(mode, model)
        if isinstance(found, Outcome):
            if mode.name in _REPEATED:
                self._seen[mode.name] = found
            if self._repeats(mode, found):
                return _result(mode, found, found, drift=0.0)
        expected = self._expectation(mode, reference) if reference else None
        if reference and isinstance(expected, Exception):
            return ModeResult(mode.name, not_run=f"{reference.name} can't run it: {_line(expected)}")
        if reference and isinstance(expected, Outcome) and not bool(expected.result.isfinite().all()):
            return ModeResult(mode.name, not_run=f"the results of {reference.name} are not finite")
        if isinstance(found, Exception):
            return self._stopped(mode, found)
        assert not isinstance(expected, Exception)
        return self._compared(mode, found, expected)

    def _expectation(self, mode: Mode, reference: Reference) -> Outcome | Exception:
        """What the reference gives in a mode. It is not saved, so that mode is no other call of it."""
        if mode.name not in {SAVED.name, ONE}:
            return self._attempt(mode, reference.model, backward=False)
        if self._expected is None:
            self._expected = self._attempt(_BY_NAME[ONE], reference.model, backward=False)
        return self._expected

    def _same_call(self, mode: Mode) -> Outcome | None:
        """What training showed, if there is no dropout layer to turn off: it would be called again in the same way."""
        layers = (part for part in self._model.modules() if isinstance(part, nn.Dropout))
        return None if mode.name != NO_DROPOUT or any(part.p for part in layers) else self._seen.get(TRAIN)

    def _attempt(self, mode: Mode, model: nn.Module, *, backward: bool = True) -> Outcome | Exception:
        """Call a model with the random numbers that all models get, unless it is known what that shows."""
        if mode.name in self._known:
            return self._known[mode.name][model is not self._model]
        _seed(SEED)
        try:
            return call(model, mode, self._batches[mode.batch], backward=backward)
        except Exception as error:  # whatever remote code raises is a finding about the model
            return error.with_traceback(None)  # it would hold the tensors of the call

    def _stopped(self, mode: Mode, error: Exception) -> ModeResult:
        """The result of a mode that raised. Memory that runs out says nothing about the model."""
        excused = self._reference is None and (mode.optional or "unexpected keyword argument" in str(error))
        if excused or isinstance(error, CannotRun) or is_out_of_memory(error):
            return ModeResult(mode.name, not_run=_line(error))
        return ModeResult(mode.name, wrong=_line(error))

    def _repeats(self, mode: Mode, found: Outcome) -> bool:
        """Whether a result is right because it is that of an earlier mode."""
        earlier = self._seen.get(mode.equal or "")
        if earlier is None or not found.rows.keys() <= earlier.rows.keys():
            return False
        if not all(torch.equal(row, earlier.rows[text]) for text, row in found.rows.items()):
            return False
        return self._wrong(mode, found, earlier) is None

    def _compared(self, mode: Mode, found: Outcome, expected: Outcome | None) -> ModeResult:
        """What is wrong with a result, or its differences from the reference and from the mode to be repeated."""
        if mode.labels and found.loss is None and (expected is None or expected.loss is None):
            return ModeResult(mode.name, not_run="its code computes no loss")
        if why := self._wrong(mode, found, expected):
            return ModeResult(mode.name, wrong=why)
        error = drift = None
        if expected is not None and self._reference:
            reference = self._reference
            error = _error(expected.rows, found.rows, reference.transform, drops_bos=reference.drops_bos)
        if (earlier := self._seen.get(mode.equal or "")) is not None and self._has_to_repeat(mode, found):
            if why := _other_shape(found, earlier):
                return ModeResult(mode.name, wrong=why)
            drift = _error(earlier.rows, found.rows)
        return _result(mode, found, expected or found, error, drift)

    def _has_to_repeat(self, mode: Mode, found: Outcome) -> bool:
        """Whether a mode has to give the result of the one that it names.

        Where texts are padded otherwise, the reference shows it. Training without dropout layers may still be random,
        which another seed tells.
        """
        if mode.labels and not found.rows.keys() <= self._seen[mode.equal or ""].rows.keys():
            return False  # logits of the labelled tokens alone
        if self._reference and mode.batch != _BY_NAME[mode.equal or mode.name].batch:
            return False
        if mode.name != NO_DROPOUT:
            return True
        _seed(SEED + 1)
        return _error(call(self._model, replace(mode, gradient=False), self._batches[mode.batch]).rows, found.rows) == 0

    def _wrong(self, mode: Mode, found: Outcome, expected: Outcome | None) -> str | None:
        """What is wrong with a result other than its differences."""
        if not_finite := int((~torch.isfinite(found.result)).sum()):
            return f"{not_finite} of {found.result.numel()} values are not finite"
        if expected is not None and (why := _other_shape(found, expected)):
            return why
        if mode.labels and not (found.loss is not None and math.isfinite(found.loss)):
            return f"its loss is {found.loss}"
        if found.unreached:
            return f"no finite gradient reaches its {' and its '.join(found.unreached)}"
        if self._reference is None or not self._reference.uncapped:
            return None
        return "its loss trains no negative logit" if found.one_sided else self._too_few_negative(found)

    def _too_few_negative(self, found: Outcome) -> str | None:
        """Both models may bound their logits in a mode, which no comparison of the two shows."""
        plain = self._seen.get(PLAIN, found)
        usual, here = _negative(plain.rows), _negative(found.rows)
        if here == 0:
            return "no logit is negative"
        return (
            None
            if here > _FEWER * usual
            else f"its negative logits average {here:.3g}, against {usual:.3g} in plain evaluation"
        )


def _result(
    mode: Mode, found: Outcome, expected: Outcome, error: float | None = None, drift: float | None = None
) -> ModeResult:
    """A mode in which nothing but a difference can be wrong."""
    dtype: Any = str(computed_dtype(expected.result[0])).removeprefix("torch.")
    largest = max(float(row.abs().amax()) for row in found.rows.values())
    return ModeResult(mode.name, dtype, error, drift, largest, repeated=mode.equal)


def _other_shape(found: Outcome, right: Outcome) -> str | None:
    for text, row in found.rows.items():
        other = right.rows.get(text)
        if other is None or row.shape != other.shape:
            expected = next(iter(right.rows.values())) if other is None else other
            return f"it returns {list(row.shape)} for a text and not {list(expected.shape)}"
    return None


def _seed(number: int) -> None:
    """Give all random numbers that a model may draw."""
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number)


def _error(expected: Rows, found: Rows, transform: Transform = torch.Tensor.float, *, drops_bos: bool = False) -> float:
    """The largest |expected - transform(found)|. First rows that are synthetic are left out: equal ones may be."""
    is_synthetic = is_dropped if drops_bos else torch.equal
    largest = []
    for text, row in found.items():
        if text == TOGETHER:  # the synthetic rows of several texts are among these
            difference = (expected[text].float() - transform(row)).abs().flatten(1).amax(1)
            largest.append(difference.where((expected[text] != row).flatten(1).any(1), 0.0).amax())
            continue
        start = 1 if len(row) > 1 and is_synthetic(expected[text][0], row[0]) else 0
        if drops_bos and torch.equal(expected[text][0], row[0]) and int(torch.count_nonzero(row[0])) == 1:
            return math.inf  # the row of the bos token is still there
        largest.append((expected[text][start:].float() - transform(row[start:])).abs().amax())
    return float(torch.stack(largest).amax())


def _negative(rows: Rows) -> float:
    """The mean size of negative logits, over all of them; first rows may be synthetic and are left out."""
    real = [row[1:] if len(row) > 1 else row for row in rows.values()]
    return float(torch.stack([-row.float().clamp(max=0).mean() for row in real]).mean())


class _OtherTensors(Exception):
    """A file does not hold what is to be saved."""


@contextmanager
def _unwritten(weights: str) -> Iterator[None]:
    """Let save_pretrained write no weights if they are what this file holds, and else raise _OtherTensors."""
    write = modeling_utils.safe_save_file

    def compare(tensors: Mapping[str, torch.Tensor], *_: object, **__: object) -> None:
        if not holds(weights, tensors):
            raise _OtherTensors

    modeling_utils.safe_save_file = compare
    try:
        yield
    finally:
        modeling_utils.safe_save_file = write


def _save(model: Any, target: str, linked: str | None) -> str:
    """Save a model in `target`, and return the folder to load it from.

    That is `linked` if the weights there are those to save: what else was saved is copied to them. The model is not
    saved there, for its own code may write through a link, and code that saves in a way of its own has to do all of it.
    Raises CannotRun for other weights that are too large.
    """
    own = getattr(model.save_pretrained, "__func__", None) is not modeling_utils.PreTrainedModel.save_pretrained
    if linked is not None and not own:
        with suppress(_OtherTensors), _unwritten(str(Path(linked) / WEIGHTS)):
            model.save_pretrained(target)
            if (Path(target) / WEIGHTS).exists():
                return target
            shutil.copytree(target, linked, dirs_exist_ok=True)
            return linked
    sizes = [tensor.nbytes for tensor in model.state_dict().values()]
    if sum(sizes) > MAX_SAVED or max(sizes) > MAX_TENSOR:
        why = f"its weights take {sum(sizes):,} bytes, the largest tensor {max(sizes):,}"
        raise CannotRun(f"{why}; at most {MAX_SAVED:,} and {MAX_TENSOR:,} are written")
    # Code of its own need not take options.
    model.save_pretrained(target, **({"max_shard_size": SHARD} if sum(sizes) > SHARD else {}))
    return target


def _release(model: nn.Module) -> None:
    """Free the memory of a model's weights, whoever else holds them."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = torch.empty(0, dtype=tensor.dtype, device=tensor.device)


def _load(target: str, folder: Path, spec: LoadSpec) -> tuple[nn.Module, list[str]]:
    """The model as it comes back from the disk, with code from `folder`, and the keys that do not match."""
    for path in folder.rglob("*.py"):  # a custom class is saved with its code only if it was registered
        place = Path(target) / path.relative_to(folder)
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    loaded, info = load_as_users_do(target, spec)
    return loaded, sorted({*info["missing_keys"], *info["unexpected_keys"]})


def _max_tokens(model: Any) -> int | None:
    """The longest text that the model's configuration allows; None where it names no limit."""
    found = [value for name in CONTEXT_KEYS if isinstance(value := getattr(model.config, name, None), int)]
    return min(found, default=None)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0] if not isinstance(error, CannotRun) else str(error)
