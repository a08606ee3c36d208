"""Writes report.html: a verification as one self-contained page, from the record of the patch and the report."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from patcher import __version__
from patcher.constants import PAGE
from patcher.documents import advice
from patcher.documents.checks import LANGUAGES, check_rows, figure_rows, modes_line
from patcher.documents.plots import BASE, INK, PATCHED, POOLED, pictures
from patcher.documents.templating import template, templates
from patcher.patching.record import PatchedModel
from patcher.patching.staging import write_atomically
from patcher.verify.report import Report

TEMPLATE, SCRIPT = "report.html.jinja", "report.js"
_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")
_TAG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
# In the page the pictures take the colours of the theme.
_COLOURS = {INK: "var(--soft)", BASE: "var(--base)", PATCHED: "var(--patched)", POOLED: "var(--pooled)"}


def render(model: PatchedModel, report: Report, drawn: Mapping[str, bytes], name: str) -> str:
    """Render the page. `drawn` maps paths to pictures, as `plots.draw` returns them.

    Raises jinja2.UndefinedError for a name in the template that does not exist.
    """
    script = Markup((templates() / SCRIPT).read_text("utf-8"))
    return template(TEMPLATE).render(
        name=name,
        model=model,
        report=report,
        version=__version__,
        cap=model.soft_cap,
        address=_address(model),
        command=_command(model),
        advice=advice.advise(replace(report, source=report.source.named)),
        checks=check_rows(report),
        modes=modes_line(report),
        figures=figure_rows(report),
        devices=[str(device.environment.get("device", "-")) for device in report.devices],
        pictures=[
            (picture, inline(drawn[picture.svg], picture.name)) for picture in pictures(report) if picture.svg in drawn
        ],
        diff=[(_kind(line), line) for line in model.diff.splitlines()],
        probes=as_script(_probes(report)),
        has_probes=bool(report.probe_texts),
        most_terms=max(
            (len(text[side]["terms"]) for text in report.probe_texts for side in ("before", "after")), default=0
        ),
        languages=[(one, LANGUAGES.get(one, one)) for one in sorted({text["language"] for text in report.probe_texts})],
        kinds=sorted({text["kind"] for text in report.probe_texts if text.get("kind")}),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def write(model: PatchedModel, report: Report, drawn: Mapping[str, bytes], name: str) -> None:
    """Write report.html into the folder of the model, atomically."""
    text = render(model, report, drawn, name).encode("utf-8", "replace")  # there may be lone surrogates in names
    write_atomically(model.folder / PAGE, text)


def inline(svg: bytes, name: str) -> Markup:
    """An SVG to embed in the page: without its style sheet, with unique ids, in the colours of the page."""
    text = re.sub(r"<title>.*?</title>|<style.*?</style>", "", svg.decode(), flags=re.S)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub("|".join(_COLOURS), lambda found: _COLOURS[found[0]], text)
    return Markup(text.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1))


def as_script(data: Any) -> Markup:
    """JSON for a script element: nothing in it can end that element or start another."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _probes(report: Report) -> list[dict[str, Any]]:
    """The probe texts, questions first: these show a reader more than the single words that a report begins with."""
    return [
        {**text, "lang": text["language"] if _TAG.fullmatch(text["language"]) and text["language"] != "und" else ""}
        for text in sorted(report.probe_texts, key=lambda text: not text["text"].endswith("?"))
    ]


def _address(model: PatchedModel) -> str | None:
    """The address of the source on the Hub, at its commit."""
    source = model.source
    if source.repo_id is None or not _REPO_ID.fullmatch(source.repo_id):
        return None
    return f"https://huggingface.co/{source.repo_id}" + (f"/tree/{source.revision}" if source.revision else "")


def _command(model: PatchedModel) -> str:
    """The command that makes this folder again."""
    causal = ["--also-causal-lm"] if model.options.also_causal_lm else []
    checkpointing = ["--checkpointing"] if model.options.checkpointing else []
    drop_bos = ["--drop-bos"] if model.drops_bos else []
    threshold = [f"--threshold={model.options.threshold:g}"] if model.options.threshold is not None else []
    return advice.patch_command(model.source.named, *causal, *checkpointing, *drop_bos, *threshold, "--out", "DIR")


def _kind(line: str) -> str:
    kinds = {"+++": "file", "---": "file", "+": "added", "-": "removed", "@": "hunk"}
    return kinds.get(line[:3]) or kinds.get(line[:1], "")
