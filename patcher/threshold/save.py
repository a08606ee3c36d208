"""Writes a copy of the trained model with its threshold built in, complete or not at all.

sentence-transformers has no setting for it: `max_active_dims` keeps a number of dimensions of each text, whatever
their size. So the folder brings a small module of its own, the last one in modules.json.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from patcher import __version__
from patcher.codec import document, json_text
from patcher.constants import CARD, SCHEMA_VERSION, THRESHOLD_RECORD, TOOL
from patcher.documents import card
from patcher.documents.templating import template
from patcher.errors import OutputError, UsageError, see
from patcher.patching.staging import atomic_directory, check_output, hashes
from patcher.planning.layout import CLASS_NAME, MODULE_NAME, MODULES
from patcher.source.metadata import split_card
from patcher.source.snapshot import fetch
from patcher.threshold.repaired import RepairedModel
from patcher.threshold.report import ThresholdReport
from patcher.verify.requests import lay_out

TEMPLATE = "threshold_card.md.jinja"
_METADATA = {
    "library_name": "sentence-transformers",
    "pipeline_tag": "feature-extraction",
    "tags": ["sentence-transformers", "sparse-encoder", "sparse", "splade", "custom_code"],
}


def check_capped(model: RepairedModel, hint: str = "Leave out --save.") -> None:
    """Raise UsageError, with this hint, for a model that an earlier patch gave zeros."""
    if not model.capped:
        raise UsageError(f"{model.snapshot.source} needs no threshold: its cap {model.soft_cap.done}.", hint)


def check_save(model: RepairedModel, out: Path) -> None:
    """Refuse what can't be saved, before the model runs. Raises UsageError or OutputError."""
    check_capped(model)
    if (model.snapshot.source.folder or Path()).resolve() == out.resolve():
        raise UsageError(f"{out} is the model itself.", "Choose another folder for --save.")
    check_output(out, THRESHOLD_RECORD)


def save(model: RepairedModel, report: ThresholdReport, out: Path, *, force: bool = False) -> Path:
    """Write the model with the report's point into `out` and return that path.

    The folder contains the repaired code, which loads correctly on transformers 5, with its cap. An `out` of an earlier
    `--save` is replaced. Raises OutputError where a check failed, unless `force` is set, or `out` was not written by
    this tool.
    """
    if not (report.passed or force):
        hint = "Choose a threshold that passes, which --sweep helps to find, or add --force." + see("threshold-checks")
        raise OutputError(f"{out} was not written: a check failed.", hint)
    check_save(model, out)
    model = model.fetched()
    with atomic_directory(out, THRESHOLD_RECORD) as stage:
        lay_out(model.contents(), stage, link=False)
        position = len(model.layout.modules)
        folder = f"{position}_{CLASS_NAME}"
        entry = {"idx": position, "name": str(position), "path": folder, "type": f"{MODULE_NAME}.{CLASS_NAME}"}
        (stage / MODULES).write_text(json_text([*model.layout.modules, entry]), "utf-8")
        (stage / folder).mkdir()
        (stage / folder / "config.json").write_text(json_text(_settings(model, report)), "utf-8")
        shutil.copyfile(Path(__file__).with_name(f"{MODULE_NAME}.py"), stage / f"{MODULE_NAME}.py")
        (stage / CARD).write_text(_card(model, report, out.name), "utf-8")
        record = {"schema_version": SCHEMA_VERSION, "tool": {"name": TOOL, "version": __version__}, **hashes(stage)}
        (stage / THRESHOLD_RECORD).write_text(json_text({**record, "report": document(report)}), "utf-8")
    return out


def _settings(model: RepairedModel, report: ThresholdReport) -> dict[str, Any]:
    """The configuration of the module; a query without a threshold of its own has that of documents."""
    point = report.point
    return {
        "threshold": point.document,
        "query_threshold": point.query if point.query != point.document else None,
        "query_top_k": point.query_top_k,
        "document_top_k": point.document_top_k,
        "uncapped_tasks": list(model.layout.uncapped_tasks),
        "dropped_dims": [report.bos.dim] if report.bos else [],
    }


def _card(model: RepairedModel, report: ThresholdReport, name: str) -> str:
    """The section on the threshold, followed by the original card; the original metadata stays on top."""
    text = ""
    if CARD in model.snapshot.paths:
        text = fetch(model.snapshot, [CARD]).read(CARD).decode("utf-8-sig", "replace").replace("\r\n", "\n")
    body = split_card(text)[1].strip()
    metadata = card.front_matter(text, report.source, **_METADATA)
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
    return card.seal("\n".join([f"---\n{metadata}---\n", section, *([f"{body}\n"] if body else [])]))
