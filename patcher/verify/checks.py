"""Judges what was measured. Pure arithmetic: no model, no torch; a value that is not finite fails every check."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from patcher.constants import MIN_LOGIT_SPARSITY as MIN_LOGIT_SPARSITY
from patcher.patching.record import PatchedModel
from patcher.verify.report import Check, DeviceReport, Report


@dataclass(frozen=True)
class Measured:
    """What the child process measured; counts unless said otherwise.

    `cap_error` is max |base - scale * kind((patched + shift) / temperature)|, `before` and `after` are the figures of
    the report. A position is real when it is neither padding nor the synthetic first row. `head_dtype`,
    `coarsest_dtype` and `roundings` are those of `hardware.Precision`; `disagreement` is the largest difference to the
    first device's logits and the number of texts that it was taken over.
    """

    not_finite: int
    positions: int
    tensors: int
    tensors_changed: tuple[str, ...]
    buffers: int
    buffers_wrong: tuple[str, ...]
    cap_error: float | None
    predictions_changed: int
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    environment: Mapping[str, Any]
    sparse_encoder: Mapping[str, Any] | None = None
    probe_texts: tuple[Mapping[str, Any], ...] = ()
    head_dtype: str = "float32"
    coarsest_dtype: str = "float32"
    roundings: int = 0
    disagreement: Mapping[str, Any] | None = None
    rankings_changed: int = 0
    failure: str | None = None


def judge(
    measured: Measured,
    files_changed: tuple[str, ...] = (),
    min_logit_sparsity: float = MIN_LOGIT_SPARSITY,
    cap_tolerance: float = 0.0,
    shifted: bool = False,
) -> tuple[Check, ...]:
    """The checks, in the order in which a failure of one explains a failure of the next.

    `files_changed` are weight files whose SHA-256 is not that of the source; `cap_tolerance` is that of
    `tolerances.law_tolerance`; `shifted` logits must keep their order.
    """
    after = measured.after
    weights = (*files_changed, *measured.tensors_changed)
    checks = [
        _count("weights_unchanged", weights, f"of {measured.tensors} tensors differ from the source", measured),
        _count(
            "buffers_rebuilt", measured.buffers_wrong, f"of {measured.buffers} buffers differ from fresh ones", measured
        ),
        _check(
            "cap_removed_exactly",
            measured.cap_error,
            cap_tolerance,
            _number(measured.cap_error) <= cap_tolerance,
            f"largest |base - cap(patched)|; at most 5 spacings of {measured.head_dtype} at the cap's scale",
            measured,
        ),
        _check(
            "predictions_unchanged",
            measured.predictions_changed,
            0,
            measured.predictions_changed == 0,
            f"of {measured.positions} positions predict another token",
            measured,
        ),
        _check(
            "negative_logits",
            after.get("negative_fraction"),
            0,
            _number(after.get("negative_fraction")) > 0,
            "share of negative logits; some have to be",
            measured,
        ),
        _check(
            "relu_sparsity",
            after.get("logit_sparsity"),
            min_logit_sparsity,
            _number(after.get("logit_sparsity")) > min_logit_sparsity,
            "logit sparsity: share of ReLU(logits) that is zero; has to exceed the limit",
            measured,
        ),
    ]
    if shifted:
        wrong, detail = measured.rankings_changed, f"of {measured.positions} positions rank their best tokens otherwise"
        checks.append(_check("rankings_kept", wrong, 0, wrong == 0, detail, measured))
    if measured.sparse_encoder is not None:
        found = measured.sparse_encoder
        right = found["pooling"] == "SpladePooling" and found["disagreements"] == 0
        detail = f"texts whose active dims differ from ours; SparseEncoder pools with {found['pooling']}"
        checks.append(_check("sparse_encoder_agrees", found["disagreements"], 0, right, detail, measured))
    return tuple(checks)


def judge_agreement(found: Mapping[str, Any]) -> Check:
    """The check `devices_agree` on the disagreement of a report (see `tolerances.device_tolerance`)."""
    detail = (
        f"largest difference of a logit between {' and '.join(found['between'])}, over {found['texts']} texts; at most "
        f"eps / 2 of {found['dtype']} * sqrt({found['roundings']} roundings) * {found['largest_logit']:.4g}, the "
        "largest logit"
    )
    value, limit = found["largest"], found["tolerance"]
    if value is None:
        return Check("devices_agree", False, None, limit, "the logits could not be compared")
    return Check("devices_agree", bool(value <= limit and found["texts"]), value, limit, detail)


def put_together(
    model: PatchedModel,
    devices: Sequence[DeviceReport],
    disagreement: Mapping[str, Any] | None,
    files: Mapping[str, str],
    texts: int,
    probe_texts: Sequence[Mapping[str, Any]] = (),
) -> Report:
    """The report of what ran on one device or several, with the checks that are about all of them."""
    first = devices[0]
    return Report(
        source=model.source,
        environment=first.environment,
        checks=(
            *first.checks,
            *([judge_agreement(disagreement)] if disagreement else []),
            *weights_converted(model, files),
        ),
        before=first.before,
        after=first.after,
        files=files,
        texts=texts,
        sparse_encoder=first.sparse_encoder,
        probe_texts=tuple(probe_texts),
        more_devices=tuple(devices[1:]),
        disagreement=disagreement,
    )


def weights_converted(model: PatchedModel, files: Mapping[str, str]) -> tuple[Check, ...]:
    """One check where weights were pickled in the source: what was read back after the conversion is still here.

    `files` are the SHA-256 of the folder's files now.
    """
    if not model.converted:
        return ()
    records = {file.path: file for file in model.files}
    wrong = [made.path for made in model.converted if files.get(made.path) != records[made.path].after]
    tied = [" = ".join(names) for made in model.converted for names in made.tied]
    ways = [
        f"{made.origin} (SHA-256 {records[made.path].before[:12]}) to {made.path} ({records[made.path].after[:12]})"
        for made in model.converted
    ]
    detail = (
        f"of {len(ways)} files are not those whose {sum(made.tensors for made in model.converted)} tensors were read "
        f"back equal: {', '.join(ways[:2])}{', ...' if len(ways) > 2 else ''}"
        + (f"; tied there and equal here: {', '.join(tied[:3])}" if tied else "")
    )
    return (Check("weights_converted", not wrong, len(wrong), 0, detail),)


def _count(name: str, wrong: tuple[str, ...], detail: str, measured: Measured) -> Check:
    named = f"{detail}: {', '.join(wrong[:3])}{', ...' if len(wrong) > 3 else ''}" if wrong else detail
    return _check(name, len(wrong), 0, not wrong, named, measured)


def _check(name: str, value: Any, limit: float, passed: bool, detail: str, measured: Measured) -> Check:
    if measured.failure is not None:
        return Check(name, False, None, limit, f"the model did not run: {measured.failure}")
    if measured.not_finite or measured.positions == 0:
        why = f"{measured.not_finite} logits are not finite" if measured.not_finite else "no position was measured"
        return Check(name, False, _finite(value), limit, why)
    return Check(name, passed and _finite(value) is not None, _finite(value), limit, detail)


def _finite(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None


def _number(value: Any) -> float:
    return value if isinstance(value, (int, float)) else math.nan
