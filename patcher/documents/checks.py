"""The checks and the figures of a report as rows, which the terminal, the page and the card show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from patcher.documents.formatting import decimal, number, percent, size
from patcher.verify.report import Check, DeviceReport, Report

LANGUAGES = {"nb": "Norwegian Bokmål", "nn": "Nynorsk", "se": "Northern Sámi"}  # of the bundled texts

# The checks whose value is a share: the figure's name, and its key in the report.
_SHARES = {
    "negative_logits": ("negative logits", "negative_fraction"),
    "relu_sparsity": ("logit sparsity", "logit_sparsity"),
}

# What the value of any other check counts, for somebody who has never seen one.
_COUNTED = {
    "weights_unchanged": "weight tensors that differ from the source",
    "buffers_rebuilt": "buffers that differ from freshly computed ones",
    "cap_removed_exactly": "largest |base - cap(patched)|",
    "cap_lowered_exactly": "largest |base - (patched + constant)|",
    "predictions_unchanged": "positions that predict a different token",
    "logits_finite": "logits that are not finite",
    "outputs_finite": "output values that are not finite",
    "reference_agrees": "largest difference from the published code",
    "sentence_transformer_loads": "embedding values of SentenceTransformer that are not finite",
    "sparse_encoder_loads": "embedding values of SparseEncoder that are not finite",
    "weights_converted": "converted files that differ from what was read back",
    "files_unchanged": "files that differ from the record of the patch",
    "sparse_encoder_agrees": "texts where SparseEncoder disagrees on active dims",
    "devices_agree": "largest logit difference between devices",
    "modes_agree": "modes of use in which the model is wrong",
    "bos_row_dropped": "texts whose first row is not zero, or that differ elsewhere",
    "rankings_kept": "positions whose best tokens rank differently",
}

_FIGURES: tuple[tuple[str, Callable[[Any], str], tuple[str, ...]], ...] = (
    ("smallest logit", decimal, ("min",)),
    ("largest logit", decimal, ("max",)),
    ("negative logits", percent, ("negative_fraction",)),
    ("logit sparsity", percent, ("logit_sparsity",)),
    ("embedding sparsity, mean", percent, ("embedding_sparsity", "mean")),
    ("embedding sparsity, min", percent, ("embedding_sparsity", "min")),
    ("active dims, mean", decimal, ("active_dims", "mean")),
    ("active dims, max", decimal, ("active_dims", "max")),
    ("FLOPS, mean", decimal, ("costs", "flops")),
    ("postings read per query, mean", decimal, ("costs", "postings_per_query")),
    ("inverted index", lambda count: "-" if count is None else size(count), ("costs", "index_bytes")),
    ("dims active in more than half of the texts", decimal, ("costs", "frequent")),
    ("texts without an active dim", decimal, ("costs", "empty")),
)


@dataclass(frozen=True)
class CheckRow:
    """One check on all devices.

    `counted` says in words what its value is; `values` holds one for each device, "" where the check did not run.
    `check` is that of the first device on which it failed, otherwise of the first device. `base` is the base model's
    value, where the value is a share. `plain_limit` is the limit in ASCII, with the digits of the values.
    """

    check: Check
    counted: str
    base: str
    values: tuple[str, ...]
    limit: str
    plain_limit: str


def is_own(text: Mapping[str, Any]) -> bool:
    """Whether a probe text of a report is from the user's file."""
    return str(text["id"]).startswith("own:")


def check_rows(report: Report) -> tuple[CheckRow, ...]:
    """Every check of the first device, in its order, with its values on all devices."""
    return tuple(_row(report, check) for check in report.checks)


def threshold_check(report: Report) -> Check | None:
    """The check of logit sparsity against its limit; of several devices, the first on which it failed."""
    return _deciding(report, "relu_sparsity")


def modes_line(report: Report) -> str:
    """The modes of use that were run, those that are wrong, and those that were not run, in one line; "" without any.

    A mode is wrong if it is on one device.
    """
    order = {None: 0, True: 1, False: 2}
    modes = sorted((mode for device in report.devices for mode in device.modes), key=lambda mode: order[mode.passed])
    worst = {mode.name: mode for mode in modes}
    found = {mode.name: worst[mode.name] for device in report.devices for mode in device.modes}
    run = [name.replace("_", " ") for name, mode in found.items() if mode.passed is not None]
    parts = [f"Run in {len(run)} modes of use: {', '.join(run)}"] if run else []
    for title, passed in (("wrong", False), ("not run", None)):
        some = [f"{mode.name.replace('_', ' ')} ({mode.detail})" for mode in found.values() if mode.passed is passed]
        parts += [f"{title}: {', '.join(some)}"] if some else []
    return "; ".join(parts)


def _deciding(report: Report, name: str) -> Check | None:
    found = sorted((check for check in report.all_checks if check.name == name), key=lambda check: check.passed)
    return found[0] if found else None


def _row(report: Report, first: Check) -> CheckRow:
    name, limit = first.name, first.limit
    figure, key = _SHARES.get(name, (None, ""))
    show = percent if figure else number
    limits = (f"≤ {limit:.3g}", f"<= {number(limit)}") if limit else ("0", "0")
    by_device = [{check.name: check for check in device.checks}.get(name) for device in report.devices]
    return CheckRow(
        _deciding(report, name) or first,
        figure or _COUNTED.get(name, name),
        percent(report.base.get(key)) if figure else "",
        tuple("" if check is None else show(check.value) for check in by_device),
        *((f"> {number(limit * 100)} %", f"> {percent(limit)}") if figure else limits),
    )


def figures(report: Report | DeviceReport) -> list[tuple[str, str, str]]:
    """Name, base value and patched value of each figure on one device."""
    rows = [(name, show(_at(report.base, keys)), show(_at(report.patched, keys))) for name, show, keys in _FIGURES]
    if report.sparse_encoder is not None:
        base, patched = (percent(report.sparse_encoder[side]["sparsity_ratio"]) for side in ("before", "after"))
        rows.append(("SparseEncoder.sparsity(), sparsity_ratio", base, patched))
    return rows


def figure_rows(report: Report) -> list[tuple[str, str, list[str]]]:
    """Name, base value and the patched values, one for each device, of each figure that was measured."""
    by_device = [figures(device) for device in report.devices]
    rows = [(rows[0][0], rows[0][1], [row[2] for row in rows]) for rows in zip(*by_device, strict=True)]
    return [row for row in rows if {row[1], *row[2]} != {"-"}]


def _at(found: Any, keys: tuple[str, ...]) -> Any:
    return reduce(lambda value, key: value.get(key) if isinstance(value, Mapping) else None, keys, found)
