"""Draws the pictures of a report as PNG and SVG, legible on light and on dark; the same report gives the same bytes."""

from __future__ import annotations

import io
import logging
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from patcher.constants import PLOTS
from patcher.documents.checks import threshold_check
from patcher.documents.formatting import percent
from patcher.documents.pictures import dimensions, pictures
from patcher.patching.staging import write_atomically
from patcher.verify.report import Check, Report

# Mid-tones: each has a contrast of at least 3.7 on white and on the dark grounds of GitHub and the Hub.
# Orange and blue stay apart for every kind of colour blindness.
INK, BASE, PATCHED, POOLED = "#747b85", "#c2701d", "#2f81d6", "#23907a"
SIZE, DPI = (5.6, 3.5), 160  # inches, and dots per inch of the PNG
_FINEST = 1e-6  # the smallest distance from 100 % that a curve of shifts shows
_FRAME = (0.145, 0.145, 0.835, 0.68)  # left, bottom, width and height of the axes, as shares of the picture
_SHAPES = (("nb", "o"), ("nn", "s"), ("se", "^"), ("", "D"))
_SETTINGS = {
    "svg.hashsalt": "splade-patcher",
    "svg.fonttype": "none",
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
}


def draw(report: Report) -> dict[str, bytes]:
    """The pictures of a report by their paths in the patched folder, each as .png and .svg."""
    wanted = pictures(report)
    if not wanted:
        return {}
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns of a home folder that is not writable
    import matplotlib
    from matplotlib.figure import Figure

    found: dict[str, bytes] = {}
    # The user's own matplotlibrc must not affect a published picture.
    defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith("backend")}
    with matplotlib.rc_context({**defaults, **_SETTINGS}):
        for picture in wanted:
            figure = Figure(figsize=SIZE, dpi=DPI)
            figure.patch.set_alpha(0)
            axes = figure.add_axes(_FRAME, facecolor="none")
            _DRAWERS[picture.name](figure, axes, report)
            for path in (picture.png, picture.svg):
                found[path] = _saved(figure, Path(path).suffix[1:], picture.title)
    return found


def write(drawn: dict[str, bytes], folder: Path) -> None:
    """Write pictures into a patched folder, each atomically, and remove those of an earlier report."""
    for path in PLOTS:
        target = folder / path
        if path in drawn:
            target.parent.mkdir(exist_ok=True)
            write_atomically(target, drawn[path])
        else:
            target.unlink(missing_ok=True)


def _saved(figure: Any, kind: str, title: str) -> bytes:
    target = io.BytesIO()
    if kind == "svg":
        nameless = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(target, format=kind, metadata={"Title": title, **nameless})
        return _compact(target.getvalue())
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    # A palette makes the file a third as large, and writing it is faster too.
    picture = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba(), "raw", "RGBA", 0, 1)
    picture.quantize(128, Image.Quantize.FASTOCTREE).save(target, "png")
    return target.getvalue()


def _compact(svg: bytes) -> bytes:
    """Halve the bytes of an SVG with no visible difference: hundredths of a point, no indentation."""
    text = svg[svg.index(b"<svg") :]
    text = re.sub(rb"\n *", b"", re.sub(rb"<metadata>.*?</metadata>", b"", text, flags=re.S))
    text = re.sub(rb'<g id="[^"]*"', b"<g", text)
    return re.sub(rb' (?:d|x|y|transform)="[^"]*"', lambda found: re.sub(rb"(\.\d\d)\d+", rb"\1", found[0]), text)


def _head(figure: Any, vertical: str, *series: tuple[str, str]) -> None:
    """Write above the axes the series, each (colour, text), and what the vertical axis shows."""
    for (colour, text), left in zip(series, (0.02, 0.51), strict=True):
        figure.text(left, 0.94, text, color=colour, fontweight="bold", va="center")
    figure.text(0.02, 0.865, vertical, va="center")


def _logits(figure: Any, axes: Any, report: Report) -> None:
    top = 1
    for side, colour in ((report.base, BASE), (report.patched, PATCHED)):
        histogram = side["histogram"]
        counts, first, width = histogram["counts"], histogram["first"], histogram["width"]
        top = max(top, *counts)
        heights = [math.log10(count) if count else -0.5 for count in counts]
        edges = [first + index * width for index in range(len(counts) + 1)]
        axes.stairs(heights, edges, baseline=-0.5, fill=True, facecolor=(colour, 0.25), edgecolor=colour, linewidth=1.1)
    axes.axvline(0, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
    ceiling = math.log10(top) + 0.9
    axes.text(0, ceiling, " zero: ReLU keeps what is right of it ", va="top", ha=_side(report), fontsize=8)
    axes.set_ylim(-0.5, ceiling)
    _powers(axes, top)
    axes.set_xlabel("logit")
    shown = [f"{percent(side['logit_sparsity'])} ≤ 0" for side in (report.base, report.patched)]
    _head(figure, "logits per bin", (BASE, f"base model: {shown[0]}"), (PATCHED, f"patched: {shown[1]}"))


def _side(report: Report) -> str:
    """The side of the line at zero with more room."""
    return "left" if report.base["max"] > -report.patched["min"] else "right"


def _sparsity(figure: Any, axes: Any, report: Report) -> None:
    dims = dimensions(report.base) or dimensions(report.patched) or 1
    least = 0.5 / dims
    for side, figures, colour in (("before", report.base, BASE), ("after", report.patched, PATCHED)):
        for row in figures["by_length"]:
            low, high = (math.log2(tokens) for tokens in row["tokens"])
            ends = [_nines(row["p10"], least), _nines(row["p90"], least)]
            axes.fill_between([low, high], *([end, end] for end in ends), color=colour, alpha=0.2, linewidth=0)
            axes.plot([low, high], [_nines(row["median"], least)] * 2, color=colour, linewidth=1.6)
        lengths = [math.log2(max(text["tokens"], 1)) for text in report.probe_texts]
        shares = [_nines(1 - text[side]["active_dims"] / dims, least) for text in report.probe_texts]
        axes.plot(lengths, shares, "o", color=colour, markersize=3, alpha=0.75, markeredgewidth=0)
    longest = max(row["tokens"][1] for row in report.patched["by_length"])
    powers = range(0, math.ceil(math.log2(longest)) + 1)
    axes.set_xticks(list(powers), [f"{2**power:,}" for power in powers])
    axes.set_xlabel("tokens in the text")
    _nines_axis(axes, _nines(1, least))
    check = threshold_check(report)
    # Short texts are on the left, above a limit that is met and below one that is not.
    name = "limit on logit sparsity, taken over tokens"
    _limit(axes, check, name, above=check is not None and not check.passed, left=True)
    means = [percent(side["embedding_sparsity"]["mean"]) for side in (report.base, report.patched)]
    _head(
        figure, "embedding sparsity", (BASE, f"base model, mean: {means[0]}"), (PATCHED, f"patched, mean: {means[1]}")
    )


def _active_dims(figure: Any, axes: Any, report: Report) -> None:
    texts = sorted(report.probe_texts, key=lambda text: (text["after"]["active_dims"], text["id"]))
    known = {language for language, _ in _SHAPES}
    languages = [text["language"] if text["language"] in known else "" for text in texts]
    shapes = []
    for language, shape in _SHAPES:
        chosen = [index for index, found in enumerate(languages) if found == language]
        if not chosen:
            continue
        shapes.append((language or "other", shape))
        for side, colour in (("before", BASE), ("after", PATCHED)):
            heights = [math.log10(max(texts[index][side]["active_dims"], 0.5)) for index in chosen]
            axes.plot([index + 1 for index in chosen], heights, shape, color=colour, markersize=3.6, markeredgewidth=0)
    most = max(text[side]["active_dims"] for text in texts for side in ("before", "after"))
    axes.set_ylim(-0.1, math.log10(max(most, 10)) + 0.35)
    axes.set_xlim(0, len(texts) + 1)
    _powers(axes, most)
    signs = {"o": "●", "s": "■", "^": "▲", "D": "◆"}
    named = ", ".join(f"{signs[shape]} {language}" for language, shape in shapes)
    axes.set_xlabel(f"texts, by active dimensions ({named})")
    means = [f"{side['active_dims']['mean']:,.0f}" for side in (report.base, report.patched)]
    _head(figure, "active dimensions", (BASE, f"base model, mean: {means[0]}"), (PATCHED, f"patched, mean: {means[1]}"))


def _shift(figure: Any, axes: Any, report: Report) -> None:
    curve, check = report.patched["curve"], threshold_check(report)
    assert check is not None
    shifts, heights = [point["shift"] for point in curve], list[float]()
    for key, colour, shape in (("logit_sparsity", PATCHED, "o"), ("embedding_sparsity", POOLED, "s")):
        line = [_nines(point[key], _FINEST) for point in curve]
        heights += line
        axes.plot(shifts, line, marker=shape, color=colour, markersize=3.2, linewidth=1.4, markeredgewidth=0)
    axes.set_xlabel("constant that would be subtracted from every logit")
    _nines_axis(axes, max(heights), min(heights))
    reached = next((point["shift"] for point in curve if point["logit_sparsity"] > check.limit), None)
    late = reached is None or reached > (shifts[0] + shifts[-1]) / 2
    if reached is not None:
        axes.axvline(reached, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
        foot = (reached, 0.02)
        side = "right" if late else "left"
        axes.text(*foot, f" {reached:.3g} reaches it ", ha=side, fontsize=8, transform=axes.get_xaxis_transform())
    # The curve is below the limit first and above it later; the label goes where the curve is not.
    _limit(axes, check, "limit on logit sparsity", above=late, left=late)
    _head(figure, "share of zeros", (PATCHED, "● logit sparsity"), (POOLED, "■ embedding sparsity, mean"))


def _nines(share: float, least: float) -> float:
    """0 % at 0, 90 % at 1, 99 % at 2: a scale that separates 99 % from 99.9 %. 100 % is drawn as 1 - `least`."""
    return -math.log10(max(1 - share, least))


def _nines_axis(axes: Any, highest: float, lowest: float = 0) -> None:
    bottom, top = math.floor(lowest), math.floor(highest + 0.5)
    axes.set_yticks(
        range(bottom, top + 1),
        [f"{100 - 10 ** (2 - nines):.{max(0, nines - 2)}f} %" for nines in range(bottom, top + 1)],
    )
    axes.set_ylim(bottom - 0.15, top + 0.45)


def _limit(axes: Any, check: Check | None, text: str, *, above: bool, left: bool) -> None:
    """Draw the limit as a line, with its name beside it."""
    if check is None or not 0 < check.limit < 1:
        return
    height = -math.log10(1 - check.limit)
    axes.set_ylim(top=max(axes.get_ylim()[1], height + 0.6))
    axes.axhline(height, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
    axes.annotate(
        f"{check.limit * 100:g} %: {text}",
        (0.015 if left else 0.985, height),
        xycoords=axes.get_yaxis_transform(),
        xytext=(0, 3 if above else -3),
        textcoords="offset points",
        ha="left" if left else "right",
        va="bottom" if above else "top",
        fontsize=8,
    )


def _powers(axes: Any, most: float) -> None:
    names = ("1", "10", "100", "1,000", "10,000", "100 k", "1 M", "10 M", "100 M", "1 G", "10 G", "100 G")
    powers = range(0, min(math.floor(math.log10(max(most, 1))) + 1, len(names) - 1) + 1)
    axes.set_yticks(list(powers)[: len(names)], [names[power] for power in powers])


_DRAWERS: dict[str, Callable[[Any, Any, Report], None]] = {
    "logits": _logits,
    "sparsity": _sparsity,
    "active_dims": _active_dims,
    "shift": _shift,
}
