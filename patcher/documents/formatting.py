"""Numbers as people read them."""

from __future__ import annotations


def number(value: float | None) -> str:
    """A value of a report: counts as they are, others with six significant digits."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def percent(value: float | None) -> str:
    """A share in percent, with two decimals; never rounded up to 100 %."""
    if value is None:
        return "-"
    return f"{min(value * 100, 99.99) if value < 1 else 100:.2f} %"


def size(count: int) -> str:
    """A number of bytes, in powers of ten."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def decimal(value: float | None) -> str:
    """Counts as they are, others with two decimals."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def decimal4(value: float | None) -> str:
    """A metric of retrieval, with four decimals."""
    return "-" if value is None else f"{value:.4f}"


def unbroken(value: str) -> str:
    """A figure with its unit, which no narrow cell of a table divides: its spaces do not break."""
    return value.replace(" ", "\u00a0") if any(one.isdigit() for one in value) else value


def confinement(level: str | None) -> str:
    """The level of the sandbox that a model's code ran in, in words."""
    words = {
        "bubblewrap": "in a bubblewrap sandbox",
        "hook": "under an audit hook alone, which confines Python code only",
        "none": "without a sandbox",
    }
    return words.get(level or "", "in a sandbox that the report does not name")


def rounded(value: float | None) -> str:
    """A mean of counts, without decimals."""
    return "-" if value is None else f"{value:,.0f}"
