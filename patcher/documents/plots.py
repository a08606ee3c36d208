"""The pictures of a report: in words, and as PNG and SVG that are legible on light and on dark.

The same report gives the same bytes.
"""

from __future__ import annotations

import io
import logging
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from patcher.constants import PLOTS
from patcher.documents.checks import threshold_check
from patcher.documents.formatting import number, percent
from patcher.patching.staging import write_atomically
from patcher.verify.report import Check, Report

# Mid-tones: each has a contrast of at least 3.7 on white and on the dark grounds of GitHub and the Hub.
# Orange and blue stay apart for every kind of colour blindness.
INK, BASE, PATCHED, POOLED = "#747b85", "#c2701d", "#2f81d6", "#23907a"
SIZE, DPI = (5.6, 3.5), 160  # inches, and dots per inch of the PNG
_FINEST = 1e-6  # the smallest distance from 100 % that a curve of shifts shows
_FRAME = (0.145, 0.145, 0.835, 0.68)  # left, bottom, width and height of the axes, as shares of the picture
_SHAPES = {"nb": ("o", "●"), "nn": ("s", "■"), "se": ("^", "▲"), "": ("D", "◆")}  # "": every other language
_drawing = Lock()  # settings of matplotlib are those of the process
_SETTINGS = {
    "svg.hashsalt": "splade-patcher",
    "svg.fonttype": "none",
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 3),
}


@dataclass(frozen=True)
class Picture:
    """One picture: its title, a caption that says how to read it, `alt`, which describes it in words and figures.

    `png` and `svg` are its paths in the patched folder.
    """

    name: str
    title: str
    caption: str
    alt: str
    png: str
    svg: str


def pictures(report: Report) -> tuple[Picture, ...]:
    """The pictures of a report, in the order of the page; none for a report without figures."""
    made = (
        Picture(name, title, caption, describe(report), f"plots/{name}.png", f"plots/{name}.svg")
        for name, (title, caption, describe, _) in _PICTURES.items()
    )
    return tuple(picture for picture in made if picture.alt)


def dimensions(figures: Mapping[str, Any]) -> int | None:
    """The number of dimensions of a SPLADE vector (the size of the vocabulary); None where nothing was measured."""
    try:
        active, zero = figures["active_dims"]["mean"], figures["embedding_sparsity"]["mean"]
        return round(active / (1 - zero)) if zero < 1 else None
    except (KeyError, TypeError):
        return None


def preload() -> None:
    """Import what drawing needs, 45 MB, while another process still measures what is drawn."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401


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
    with _drawing, matplotlib.rc_context({**defaults, **_SETTINGS}):
        for picture in wanted:
            figure = Figure(figsize=SIZE, dpi=DPI)
            figure.patch.set_alpha(0)
            axes = figure.add_axes(_FRAME, facecolor="none")
            _PICTURES[picture.name][3](figure, axes, report)
            found[picture.png] = _png(figure)
            found[picture.svg] = _svg(figure, picture.title)
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


def _png(figure: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    target, canvas = io.BytesIO(), FigureCanvasAgg(figure)
    canvas.draw()
    # A palette makes the file a third as large, and writing it is faster too.
    picture = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba(), "raw", "RGBA", 0, 1)
    picture.quantize(128, Image.Quantize.FASTOCTREE).save(target, "png")
    return target.getvalue()


def _svg(figure: Any, title: str) -> bytes:
    """The SVG at half its size with no visible difference: hundredths of a point, no indentation."""
    target = io.BytesIO()
    nameless = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(target, format="svg", metadata={"Title": title, **nameless})
    text = target.getvalue()
    text = re.sub(rb"<metadata>.*?</metadata>", b"", text[text.index(b"<svg") :], flags=re.S)
    text = re.sub(rb'<g id="[^"]*"', b"<g", re.sub(rb"\n *", b"", text))
    return re.sub(rb' (?:d|x|y|transform)="[^"]*"', lambda found: re.sub(rb"(\.\d\d)\d+", rb"\1", found[0]), text)


def _sides(report: Report) -> tuple[tuple[Mapping[str, Any], str, str], ...]:
    """The figures of each side, its key in a probe text, and its colour."""
    return (report.base, "before", BASE), (report.patched, "after", PATCHED)


def _head(figure: Any, vertical: str, *series: tuple[str, str]) -> None:
    """Write above the axes the series, each (colour, text), and what the vertical axis shows."""
    for (colour, text), left in zip(series, (0.02, 0.51), strict=True):
        figure.text(left, 0.94, text, color=colour, fontweight="bold", va="center")
    figure.text(0.02, 0.865, vertical, va="center")


def _compare(figure: Any, vertical: str, report: Report, text: Callable[[Mapping[str, Any]], str]) -> None:
    """Write above the axes both models, with a text on the figures of each, and what the vertical axis shows."""
    _head(figure, vertical, (BASE, f"base model{text(report.base)}"), (PATCHED, f"patched{text(report.patched)}"))


def _logits(figure: Any, axes: Any, report: Report) -> None:
    top = 1
    for side, _, colour in _sides(report):
        histogram = side["histogram"]
        counts, first, width = histogram["counts"], histogram["first"], histogram["width"]
        top = max(top, *counts)
        heights = [math.log10(count) if count else -0.5 for count in counts]
        edges = [first + index * width for index in range(len(counts) + 1)]
        axes.stairs(heights, edges, baseline=-0.5, fill=True, facecolor=(colour, 0.25), edgecolor=colour, linewidth=1.1)
    axes.axvline(0, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
    ceiling = math.log10(top) + 0.9
    left, right = axes.get_xlim()
    for words, end, gap, room in (("kept", "left", 5, right), ("zero", "right", -5, -left)):
        if room > 0.2 * (right - left):  # the words have to fit between the line and the edge
            offset = {"xytext": (gap, 0), "textcoords": "offset points"}
            axes.annotate(words, (0, ceiling), **offset, va="top", ha=end, fontsize=8)
    axes.set_ylim(-0.5, ceiling)
    _powers(axes, top)
    axes.set_xlabel("logit")
    _compare(figure, "logits per bin", report, lambda side: f": {percent(side['logit_sparsity'])} ≤ 0")


def _sparsity(figure: Any, axes: Any, report: Report) -> None:
    dims = dimensions(report.base) or dimensions(report.patched) or 1
    least = 0.5 / dims
    for figures, side, colour in _sides(report):
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
    powers = powers[:: 1 + len(powers) // 9]  # all of them would touch on a telephone
    axes.set_xticks(list(powers), [f"{2**power:,}" for power in powers])
    axes.set_xlabel("tokens in the text")
    _nines_axis(axes, _nines(1, least))
    _compare(
        figure, "embedding sparsity", report, lambda side: f", mean: {percent(side['embedding_sparsity']['mean'])}"
    )


def _active_dims(figure: Any, axes: Any, report: Report) -> None:
    texts = sorted(report.probe_texts, key=lambda text: (text["after"]["active_dims"], text["id"]))
    named = []
    for language, (shape, sign) in _SHAPES.items():
        chosen = [
            (at, text)
            for at, text in enumerate(texts, 1)
            if language == (text["language"] if text["language"] in _SHAPES else "")
        ]
        if not chosen:
            continue
        named.append(f"{sign} {language or 'other'}")
        for _, side, colour in _sides(report):
            heights = [math.log10(max(text[side]["active_dims"], 0.5)) for _, text in chosen]
            axes.plot([at for at, _ in chosen], heights, shape, color=colour, markersize=3.6, markeredgewidth=0)
    most = max(text[side]["active_dims"] for text in texts for side in ("before", "after"))
    axes.set_ylim(-0.1, math.log10(max(most, 10)) + 0.35)
    axes.set_xlim(0, len(texts) + 1)
    _powers(axes, most)
    axes.set_xlabel(f"texts, by active dimensions ({', '.join(named)})")
    _compare(figure, "active dimensions", report, lambda side: f", mean: {side['active_dims']['mean']:,.0f}")


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
        words, side = f" {reached:.3g} reaches it ", "right" if late else "left"
        axes.text(reached, 0.02, words, ha=side, fontsize=8, transform=axes.get_xaxis_transform())
    # The curve is below the limit first and above it later; the label goes where the curve is not.
    _limit(axes, check, "limit on logit sparsity", above=late, left=late)
    _head(figure, "share of zeros", (PATCHED, "● logit sparsity"), (POOLED, "■ embedding sparsity, mean"))


def _nines(share: float, least: float) -> float:
    """0 % at 0, 90 % at 1, 99 % at 2: a scale that separates 99 % from 99.9 %. 100 % is drawn as 1 - `least`."""
    return -math.log10(max(1 - share, least))


def _nines_axis(axes: Any, highest: float, lowest: float = 0) -> None:
    ticks = range(math.floor(lowest), math.floor(highest + 0.5) + 1)
    axes.set_yticks(ticks, [f"{100 - 10 ** (2 - nines):.{max(0, nines - 2)}f} %" for nines in ticks])
    axes.set_ylim(ticks[0] - 0.15, ticks[-1] + 0.45)


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
    count = min(math.floor(math.log10(max(most, 1))) + 2, len(names))
    axes.set_yticks(range(count), names[:count])


def _describe_logits(report: Report) -> str:
    base, patched = report.base, report.patched
    if not all((side.get("histogram") or {}).get("counts") for side in (base, patched)):
        return ""
    return (
        f"Histogram of all logits, counts on a logarithmic axis. Base model: from {number(base['min'])} to "
        f"{number(base['max'])}, {percent(base['logit_sparsity'])} at or below zero. Patched: from "
        f"{number(patched['min'])} to {number(patched['max'])}, {percent(patched['logit_sparsity'])} "
        "at or below zero, where ReLU makes them zero."
    )


def _describe_sparsity(report: Report) -> str:
    bins = report.patched.get("by_length")
    if not bins or not report.base.get("by_length"):
        return ""
    spans = [f"{percent(row['median'])} for texts of {row['tokens'][0]} to {row['tokens'][1]} tokens" for row in bins]
    medians = f"{spans[0]}, {spans[-1]}" if len(spans) > 1 else spans[0]
    return (
        f"Embedding sparsity of each text against its number of tokens. Patched, medians: {medians}. "
        f"Base model: {percent(report.base['embedding_sparsity']['mean'])} on average."
    )


def _describe_active_dims(report: Report) -> str:
    if not report.probe_texts:
        return ""
    before, after = ([text[side]["active_dims"] for text in report.probe_texts] for side in ("before", "after"))
    return (
        f"Active dimensions of the SPLADE vectors of {len(after)} texts, on a logarithmic axis. Base model: "
        f"{min(before):,} to {max(before):,}. Patched: {min(after):,} to {max(after):,}."
    )


def _describe_shift(report: Report) -> str:
    check, curve = threshold_check(report), report.patched.get("curve")
    if check is None or check.passed or check.value is None or not curve:
        return ""
    first, last = curve[0], curve[-1]
    return (
        "Logit and embedding sparsity of the patched model against a constant that is subtracted from every logit: "
        f"{percent(first['logit_sparsity'])} and {percent(first['embedding_sparsity'])} without one, "
        f"{percent(last['logit_sparsity'])} and {percent(last['embedding_sparsity'])} with {number(last['shift'])}. "
        f"A dashed line marks the limit, {percent(check.limit)}."
    )


# By name, in the order of the page: the title, the caption, what describes the picture ("" where it can't be drawn)
# and draws it.
_PICTURES: dict[str, tuple[str, str, Callable[[Report], str], Callable[[Any, Any, Report], None]]] = {
    "logits": (
        "Logits, before and after",
        "All logits of both models. ReLU keeps those to the right of the dashed line and turns the others into zeros.",
        _describe_logits,
        _logits,
    ),
    "sparsity": (
        "Embedding sparsity against text length",
        "One point per text. A line is the median of the texts of that length; the band spans the 10th to the "
        "90th percentile. Longer texts have more active dimensions.",
        _describe_sparsity,
        _sparsity,
    ),
    "active_dims": (
        "Active dimensions per text",
        "One point per text and model, from the sparsest vector to the densest. An index stores one posting for each "
        "active dimension.",
        _describe_active_dims,
        _active_dims,
    ),
    "shift": (
        "What a constant would do",
        "What the two figures would be if a constant were subtracted from every logit.",
        _describe_shift,
        _shift,
    ),
}
