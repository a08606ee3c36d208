"""The messages and progress bars of huggingface_hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from patcher.cli.console import Console


@contextmanager
def quiet_client(console: Console) -> Iterator[None]:
    """Silence the client of the Hub where the console prints only data; restores its settings."""
    from huggingface_hub.utils.logging import get_verbosity, set_verbosity, set_verbosity_error
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    verbosity = get_verbosity()
    hide_bars = (console.quiet or console.as_json) and not are_progress_bars_disabled()
    if console.quiet:
        set_verbosity_error()  # type: ignore[no-untyped-call]
    if hide_bars:
        disable_progress_bars()
    try:
        yield
    finally:
        set_verbosity(verbosity)
        if hide_bars:
            enable_progress_bars()
