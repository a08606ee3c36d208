"""The table of ratios: what was measured, against what, and whether the target is met."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

COLUMNS = ("benchmark", "ours", "floor", "ratio (min–max)", "target", "met")
VERSIONS = ("torch", "transformers", "sentence-transformers", "libcst", "huggingface-hub")


@dataclass(frozen=True)
class Comparison:
    """One row. `ours[i]` and `floor[i]` were measured one after the other; both are in `unit` (s, B, or any word).

    `limit` is the target of the ratio ours / floor: at most that, or at least that with `at_least`; None has no target.
    """

    name: str
    ours: Sequence[float]
    floor: Sequence[float]
    unit: str
    limit: float | None = None
    at_least: bool = False

    @property
    def ratios(self) -> list[float]:
        return [ours / floor for ours, floor in zip(self.ours, self.floor, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the ratios pair by pair, so that what slows both down falls out."""
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool | None:
        if self.limit is None:
            return None
        return self.ratio >= self.limit if self.at_least else self.ratio <= self.limit

    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of COLUMNS; `ours` and `floor` are medians."""
        low, high = min(self.ratios), max(self.ratios)
        spread = f" ({_ratio(low)}–{_ratio(high)})" if len(self.ratios) > 1 else ""
        return (
            self.name,
            _quantity(statistics.median(self.ours), self.unit),
            _quantity(statistics.median(self.floor), self.unit),
            f"{_ratio(self.ratio)}{spread}",
            "" if self.limit is None else f"{'≥' if self.at_least else '≤'} {self.limit:.2f}",
            {True: "yes", False: "no", None: ""}[self.met],
        )


def render(rows: Iterable[Comparison], markdown: bool = False) -> str:
    """The table for a terminal, or as the README has it."""
    lines = [COLUMNS, *(row.cells() for row in rows)]
    if markdown:
        lines.insert(1, ("---", "---:", "---:", "---:", "---:", "---"))
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def machine() -> str:
    """Processor, cores, memory and versions, in one line: a ratio is said of a machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in VERSIONS]
    python = f"Python {platform.python_version()}"
    return f"{_processor()}, {os.cpu_count()} cores, {memory / 2**30:.0f} GiB; {', '.join([python, *versions])}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _quantity(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"
    if unit == "B":
        scale, name = next((s, n) for s, n in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")) if value >= s or s == 1)
        return f"{value / scale:.2f} GB" if name == "GB" else f"{value / scale:.0f} {name}"
    digits = 2 if 0 < value < 10 and value % 1 else 0
    return f"{value:,.{digits}f} {unit}".rstrip()


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value >= 0.01 else f"{value:.2g}"
