"""Plans of folders, and changes to the miniature that make a plan refuse it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import PatcherError
from patcher.planning.options import Options
from patcher.planning.plan import Plan, make_plan
from patcher.source.snapshot import resolve

CAP = "        subword_prediction = 30 * torch.sigmoid(subword_prediction / 7.5)\n"


def plan_of(folder: Path, **options: bool) -> Plan:
    """The plan of a folder."""
    return make_plan(resolve(str(folder)), Options(**options))


def configure(folder: Path, **changes: Any) -> None:
    """Change keys of config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit(folder: Path, old: str, new: str, count: int = -1) -> None:
    """Replace some of the model code, which has to be there."""
    path = folder / "modeling_gptbert.py"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, count), "utf-8")


def refusal(folder: Path, kind: type[PatcherError], **options: bool) -> PatcherError:
    """The error that a plan of the folder raises, with one line of message and a hint."""
    with pytest.raises(kind) as caught:
        plan_of(folder, **options)
    assert "\n" not in caught.value.message and caught.value.hint
    return caught.value
