"""Writes a copy of the trained model with its threshold built in, whole or not at all.

sentence-transformers has no setting for it: `max_active_dims` keeps a number of dimensions for each text, whatever
their size. So a small module of our own is shipped in the folder and stands last in modules.json.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from patcher import __version__
from patcher.codec import document
from patcher.constants import CARD, SCHEMA_VERSION, TOOL
from patcher.documents.templating import template
from patcher.errors import OutputError, UsageError
from patcher.patching.staging import check_output, whole
from patcher.planning.layout import CLASS_NAME, MODULE_NAME, MODULES
from patcher.source.snapshot import fetch
from patcher.threshold.repaired import RepairedModel
from patcher.threshold.report import ThresholdReport

RECORD = "threshold.json"
TEMPLATE = "threshold_card.md.jinja"
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n---[ \t]*\n", re.DOTALL)
_BARE_METADATA = """---
library_name: sentence-transformers
pipeline_tag: feature-extraction
tags:
- sentence-transformers
- sparse-encoder
- sparse
- splade
---
"""


def check_save(model: RepairedModel, out: Path) -> None:
    """Say before the model runs that it can't be saved there. Raises UsageError or OutputError."""
    if not model.capped:
        raise UsageError(
            f"{model.snapshot.source} needs no threshold: its cap was removed before.", "Leave out --save."
        )
    if (model.snapshot.source.path or "") == str(out.resolve()):
        raise UsageError(f"{out} is the model itself.", "Choose another folder for --save.")
    check_output(out, RECORD)


def save(model: RepairedModel, report: ThresholdReport, out: Path) -> Path:
    """Write the model with the report's threshold into `out` and return that path.

    The folder holds the repaired code, so that it loads right on transformers 5, and its cap: the weights were trained
    with it. An `out` of an earlier `--save` is replaced. Raises OutputError where a check failed or `out` is not ours.
    """
    if not report.passed:
        raise OutputError(f"{out} was not written: a check failed.", "Choose a threshold that passes; --sweep helps.")
    check_save(model, out)
    model = model.fetched()
    with whole(out, RECORD) as stage:
        model.write(stage, link=False)
        position = len(model.layout.modules)
        folder = f"{position}_{CLASS_NAME}"
        entry = {"idx": position, "name": str(position), "path": folder, "type": f"{MODULE_NAME}.{CLASS_NAME}"}
        _write_json(stage / MODULES, [*model.layout.modules, entry])
        (stage / folder).mkdir()
        settings = {"threshold": report.threshold, "uncapped_tasks": list(model.layout.uncapped_tasks)}
        _write_json(stage / folder / "config.json", settings)
        shutil.copyfile(Path(__file__).with_name(f"{MODULE_NAME}.py"), stage / f"{MODULE_NAME}.py")
        (stage / CARD).write_text(_card(model, report, out.name), "utf-8")
        record = {"schema_version": SCHEMA_VERSION, "tool": {"name": TOOL, "version": __version__}}
        _write_json(stage / RECORD, {**record, "report": document(report)})
    return out


def _card(model: RepairedModel, report: ThresholdReport, name: str) -> str:
    """Our section, and below it the card of the model as it was; its metadata stays on top."""
    text = ""
    if CARD in model.snapshot.paths:
        text = fetch(model.snapshot, [CARD]).read(CARD).decode("utf-8-sig", "replace").replace("\r\n", "\n")
    found = _FRONT_MATTER.match(text)
    body = text[found.end() if found else 0 :].strip()
    section = template(TEMPLATE).render(
        name=name,
        original=bool(body),
        report=report,
        plain=report.rows[0],
        row=report.row,
        cap=report.soft_cap,
        encoder=report.environment["sentence_transformers"],
        version=__version__,
    )
    return "\n".join([found[0] if found else _BARE_METADATA, section, *([f"{body}\n"] if body else [])])


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
