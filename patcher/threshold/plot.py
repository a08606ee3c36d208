"""Draws the sweep: embedding sparsity and retrieval quality against the threshold, as an image or as text."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path

from patcher.errors import MissingRequirement, UsageError
from patcher.patching.staging import write_atomically
from patcher.threshold.report import ThresholdReport
from patcher.threshold.sweep import Row

FORMATS = (".png", ".svg", ".pdf")
WIDTH = 51


def check_plot(path: Path) -> None:
    """Refuse an image that can't be written, before the model runs. Raises UsageError or MissingRequirement."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(
            f"{path} is not an image format that can be written.", f"Name a file ending in {', '.join(FORMATS)}."
        )
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent} for the image.", "Create it, or choose another folder.")
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingRequirement("--plot needs matplotlib, which is not installed.", "pip install matplotlib")


def draw(report: ThresholdReport, path: Path) -> None:
    """Write the curves of a sweep as an image, atomically."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = report.rows[1:]
    thresholds = [row.threshold for row in rows]
    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    axes.plot(thresholds, [row.document_sparsity for row in rows], marker="o", label="document embedding sparsity")
    axes.plot(thresholds, [row.query_sparsity for row in rows], marker="s", label="query embedding sparsity")
    if all(row.ndcg is not None for row in rows):
        axes.plot(thresholds, [row.ndcg for row in rows], marker="^", label="nDCG@10")
        axes.axhline(report.rows[0].ndcg, linestyle=":", color="C2", linewidth=1, label="nDCG@10 without threshold")
    axes.plot(thresholds, [row.tau for row in rows], marker="x", color="0.6", label="Kendall's tau, top 10")
    axes.axvline(report.threshold, linestyle="-", color="0.8", zorder=0, label=f"chosen: {report.threshold:g}")
    if report.recommended is not None:
        axes.axvline(report.recommended, linestyle="--", color="C3", label=f"recommended: {report.recommended:g}")
    axes.set_xscale("log")
    axes.set_xlabel("threshold on the activations")
    axes.set_ylim(min(0.0, *(row.tau for row in rows)) - 0.02, 1.02)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:].lower(), dpi=150)
    pyplot.close(figure)
    write_atomically(path, content.getvalue())


def curve(rows: Sequence[Row]) -> list[str]:
    """The same curves for a terminal: one line per threshold, 0 % on the left, 100 % on the right."""
    lines = [f"{'threshold':>9}  0 %{'100 %':>{WIDTH - 3}}"]
    for row in rows:
        columns = [" "] * WIDTH
        for mark, value in (("q", row.query_sparsity), ("d", row.document_sparsity), ("n", row.ndcg)):
            if value is not None:
                at = round(max(0.0, min(1.0, value)) * (WIDTH - 1))
                columns[at] = mark if columns[at] == " " else "*"
        lines.append(f"{row.threshold:>9g} |{''.join(columns)}|")
    judged = ", n nDCG@10" if any(row.ndcg is not None for row in rows) else ""
    return [*lines, f"{'':>9}  q query, d document embedding sparsity{judged}, * several"]
