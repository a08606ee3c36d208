"""Draws the sweep: active dims and retrieval quality against the threshold, as an image or as text."""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Sequence
from pathlib import Path

from patcher.errors import MissingRequirement, UsageError
from patcher.patching.staging import write_atomically
from patcher.threshold.messages import Row
from patcher.threshold.report import ThresholdReport

FORMATS = (".png", ".svg", ".pdf")
WIDTH = 51


def check_plot(path: Path) -> None:
    """Refuse an image that can't be written, before the model runs. Raises UsageError or MissingRequirement."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(
            f"{path} is not in an image format that can be written.", f"Use a name ending in {', '.join(FORMATS)}."
        )
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent} for the image.", "Create it, or choose another folder.")
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingRequirement("--plot needs matplotlib, which is not installed.", "pip install matplotlib")


def draw(report: ThresholdReport, path: Path) -> None:
    """Write the curves of a sweep as an image, atomically: active dims (on a log scale) and nDCG@10 by threshold."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = report.rows[1:]
    thresholds = [row.threshold for row in rows]
    figure, axes = pyplot.subplots(figsize=(7.5, 4.5), layout="constrained")
    axes.plot(thresholds, [row.document_active_dims for row in rows], marker="o", label="document active dims")
    axes.plot(thresholds, [row.query_active_dims for row in rows], marker="s", label="query active dims")
    if report.row is not None:
        point, dims = report.point, (report.row.query_active_dims, report.row.document_active_dims)
        axes.plot((point.query, point.document), dims, "*", color="C3", markersize=13, label=f"checked: {point}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("threshold on the activations, the same for queries and documents")
    axes.set_ylabel("active dims, mean over texts")
    axes.grid(alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    intervals = [row.ndcg_interval for row in rows if row.ndcg_interval is not None]
    if intervals:
        ndcg = axes.twinx()
        ndcg.fill_between(thresholds, [one.low for one in intervals], [one.high for one in intervals], alpha=0.15)
        ndcg.plot(thresholds, [one.mean for one in intervals], color="C2", label="nDCG@10, 95 % interval")
        ndcg.axhline(report.rows[0].ndcg, linestyle=":", color="C2", linewidth=1, label="nDCG@10 without threshold")
        ndcg.set_ylim(0, 1.02)
        ndcg.set_ylabel("nDCG@10")
        more = ndcg.get_legend_handles_labels()
        handles, labels = handles + more[0], labels + more[1]
    figure.legend(handles, labels, fontsize="small", loc="outside lower center", ncols=3)
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:].lower(), dpi=150)
    pyplot.close(figure)
    write_atomically(path, content.getvalue())


def curve(rows: Sequence[Row]) -> list[str]:
    """The same curves for a terminal, from the unpruned row on: active dims on a log scale, nDCG@10 from 0 to 1."""
    most = max(rows[0].query_active_dims, rows[0].document_active_dims, 2.0)
    lines = [f"{'threshold':>9}  1{f'{most:,.0f} active dims':>{WIDTH - 1}}"]
    for row in rows[1:]:
        columns = [" "] * WIDTH
        dims = {"q": row.query_active_dims, "d": row.document_active_dims}
        shares = {mark: math.log(max(value, 1.0)) / math.log(most) for mark, value in dims.items()}
        for mark, share in {**shares, **({"n": row.ndcg} if row.ndcg is not None else {})}.items():
            at = round(max(0.0, min(1.0, share)) * (WIDTH - 1))
            columns[at] = mark if columns[at] == " " else "*"
        lines.append(f"{row.threshold:>9g} |{''.join(columns)}|")
    judged = ", n nDCG@10 from 0 to 1" if rows[0].ndcg is not None else ""
    return [*lines, f"{'':>9}  q query, d document active dims on a log scale{judged}, * several"]
