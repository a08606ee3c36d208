"""Writes report.html: a verification as one page that needs no network, from the record of the patch and the report."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from patcher import __version__
from patcher.constants import PAGE
from patcher.documents import advice
from patcher.documents.figures import figures
from patcher.documents.formatting import number, percent
from patcher.documents.pictures import gate, pictures
from patcher.documents.plots import BASE, INK, PATCHED, POOLED
from patcher.documents.templating import template, templates
from patcher.patching.record import PatchedModel
from patcher.verify.report import Check, Report

TEMPLATE, SCRIPT = "report.html.jinja", "report.js"
_SHARES = {"negative_logits": "negative_fraction", "relu_sparsity": "logit_sparsity"}
_LANGUAGES = {"nb": "Bokmål", "nn": "Nynorsk", "se": "Northern Sámi"}
_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")
_TAG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
# In the page the pictures take the colours of its theme.
_COLOURS = {INK: "var(--soft)", BASE: "var(--base)", PATCHED: "var(--patched)", POOLED: "var(--pooled)"}


def render(model: PatchedModel, report: Report, drawn: Mapping[str, bytes], name: str) -> str:
    """The page. `drawn` holds the pictures by path, as `plots.draw` makes them.

    Raises jinja2.UndefinedError where the template names something that does not exist.
    """
    script = Markup((templates() / SCRIPT).read_text("utf-8"))
    return template(TEMPLATE, rounded=_rounded).render(
        name=name,
        model=model,
        report=report,
        version=__version__,
        cap=model.soft_cap,
        address=_address(model),
        command=_command(model),
        advice=advice.advise(report),
        gate=gate(report),
        rows=check_rows(report),
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
        languages=_languages(report),
        kinds=sorted({text["kind"] for text in report.probe_texts if text.get("kind")}),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def write(model: PatchedModel, report: Report, drawn: Mapping[str, bytes], name: str) -> Path:
    """Write report.html into the folder of the model, whole or not at all, and return its path."""
    path = model.folder / PAGE
    part = path.with_name(f".{PAGE}.partial")
    part.write_text(render(model, report, drawn, name), "utf-8", "replace")  # a name may hold half a character
    part.replace(path)
    return path


def check_rows(report: Report) -> list[tuple[Check, str, list[str], str]]:
    """Each check with its value on the base model, on the patched one on each device, and its limit, in words.

    The check is that of the first device, or of the first on which it failed.
    """
    rows = []
    for first in report.checks:
        every = [_same(first, device.checks) for device in report.devices]
        worst = next((check for check in every if check is not None and not check.passed), first)
        share = _SHARES.get(first.name)
        values = ["" if one is None else (percent if share else number)(one.value) for one in every]
        limit = f"> {number(first.limit * 100)} %" if share else f"≤ {first.limit:.3g}" if first.limit else "0"
        rows.append((worst, percent(report.base.get(share)) if share else "", values, limit))
    return rows


def _same(wanted: Check, checks: tuple[Check, ...]) -> Check | None:
    return next((check for check in checks if check.name == wanted.name), None)


def figure_rows(report: Report) -> list[tuple[str, str, list[str]]]:
    """Each figure on the base model and on the patched one on each device."""
    every = [figures(device) for device in report.devices]
    return [(rows[0][0], rows[0][1], [row[2] for row in rows]) for rows in zip(*every, strict=True)]


def inline(svg: bytes, name: str) -> Markup:
    """A picture as part of the page: no style sheet for all of it, ids of its own, the colours of the page."""
    text = re.sub(r"<title>.*?</title>|<style.*?</style>", "", svg.decode(), flags=re.S)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub("|".join(_COLOURS), lambda found: _COLOURS[found[0]], text)
    return Markup(text.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1))


def as_script(data: Any) -> Markup:
    """JSON that may stand in a script element: nothing in it can end that element or start another."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _probes(report: Report) -> list[dict[str, Any]]:
    return [
        {**text, "lang": text["language"] if _TAG.fullmatch(text["language"]) and text["language"] != "und" else ""}
        for text in report.probe_texts
    ]


def _languages(report: Report) -> list[tuple[str, str]]:
    found = sorted({text["language"] for text in report.probe_texts})
    return [(language, _LANGUAGES.get(language, language)) for language in found]


def _rounded(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _address(model: PatchedModel) -> str | None:
    """Where the source can be read, at its commit."""
    source = model.source
    if source.repo_id is None or not _REPO_ID.fullmatch(source.repo_id):
        return None
    return f"https://huggingface.co/{source.repo_id}" + (f"/tree/{source.revision}" if source.revision else "")


def _command(model: PatchedModel) -> str:
    """What makes this folder again."""
    source, options = model.source, model.options
    words = ["patcher", "patch", str(source.repo_id or source.path)]
    words += ["--revision", source.revision] if source.repo_id and source.revision else []
    words += ["--also-causal-lm"] if options.also_causal_lm else []
    words += ["--checkpointing"] if options.checkpointing else []
    words += ["--out", "DIR"]
    return shlex.join(words)


def _kind(line: str) -> str:
    if line.startswith(("+++", "---")):
        return "file"
    return {"+": "added", "-": "removed", "@": "hunk"}.get(line[:1], "")
