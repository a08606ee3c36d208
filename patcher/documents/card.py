"""Writes the model card, from the record of the patch and the last report alone."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from patcher import __version__
from patcher.configuration import context_length
from patcher.constants import CARD, CONFIG, PAGE
from patcher.documents import advice
from patcher.documents.checks import LANGUAGES, check_rows, figures, is_own, modes_line
from patcher.documents.plots import pictures
from patcher.documents.templating import literal, template
from patcher.patching.record import SENTENCE, SPARSE, PatchedModel
from patcher.patching.staging import write_atomically
from patcher.planning.files import join
from patcher.printable import one_line
from patcher.source.metadata import read_metadata, split_card
from patcher.source.snapshot import Source
from patcher.verify.report import Report

TEMPLATE, REPAIRED, COMMIT = "model_card.md.jinja", "repaired_card.md.jinja", "commit_description.md.jinja"
_LONGEST_DIFF = 30_000  # characters
_TERMS = 8  # that the example prints
# The Hub's names of what the classes do.
_TASKS = {
    "SparseEncoder": "feature-extraction",
    "SentenceTransformer": "sentence-similarity",
    "AutoModel": "feature-extraction",
    "AutoModelForMaskedLM": "fill-mask",
    "AutoModelForCausalLM": "text-generation",
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModelForTokenClassification": "token-classification",
    "AutoModelForQuestionAnswering": "question-answering",
    "AutoModelForMultipleChoice": "multiple-choice",
}
_LINK = re.compile(r"https://[^\s<>\"']+|[\w./-]+")  # an address or a file; no javascript:, no data:
_TAG = re.compile(r"(?!(?:base_model|license|dataset|region):)[\w][\w.:/+ -]{0,99}")
_SEAL = re.compile(r"\n<!-- splade-patcher card ([0-9a-f]{64}) -->\n\Z")


def render(model: PatchedModel, report: Report | None, model_id: str, revision: str | None = None) -> str:
    """Render the card as Markdown. `model_id` and `revision` are what its examples load.

    Raises jinja2.UndefinedError for a name in the template that does not exist.
    """
    text = template(TEMPLATE if model.soft_cap else REPAIRED).render(
        metadata=_metadata(model),
        model=model,
        model_id=model_id,
        trained=bool(model.encoders),
        name=model_id.rpartition("/")[2],
        revision=revision,
        report=report,
        figures=figures(report) if report else [],
        checks=check_rows(report) if report else (),
        devices=[str(one.environment.get("device", "-")) for one in report.devices] if report else [],
        texts=_texts(report) if report else "",
        example=find_example(report),
        max_length=_max_length(model),
        has_page=report is not None and (model.folder / PAGE).is_file(),
        modes=modes_line(report) if report else "",
        # Only pictures that exist beside the card: a broken image is worse than none.
        pictures=[one for one in pictures(report) if (model.folder / one.png).is_file()] if report else [],
        advice=advice.advise(replace(report, source=report.source.named)) if report else None,
        version=__version__,
        cap=model.soft_cap,
        repairs=_applied(model),
    )
    return seal(text)


@dataclass(frozen=True)
class Example:
    """The text that a card's examples encode, and the strongest terms of its vector where these were measured."""

    text: str = "Hva er hovedstaden i Norge?"
    terms: tuple[tuple[str, float], ...] = ()

    @property
    def shown(self) -> str:
        """What the example prints."""
        return "\n".join(f"{weight:.2f} {one_line(term)}" for term, weight in self.terms)


def find_example(report: Report | None) -> Example:
    """The first of the bundled questions in a report, with the terms of its vector under the patched model."""
    texts = report.probe_texts if report is not None else ()
    found = next((one for one in texts if one["text"].endswith("?") and not is_own(one)), None)
    if found is None:
        return Example()
    return Example(found["text"], tuple(map(tuple, found["after"]["terms"][:_TERMS])))


def describe_commit(model: PatchedModel, report: Report | None, *, repairs_only: bool = False) -> str:
    """The body of a commit or pull request: where the model comes from or why it is repaired, the checks, the diff."""
    diff = model.diff.rstrip("\n")
    if len(diff) > _LONGEST_DIFF:
        diff = diff[:_LONGEST_DIFF].rpartition("\n")[0] + "\n(shortened)"
    return template(COMMIT).render(
        model=model,
        report=report,
        diff=diff,
        version=__version__,
        cap=model.soft_cap,
        repairs=_applied(model),
        repairs_only=repairs_only,
        changed=[file.path for file in model.files if file.action == "changed"],
        added=[(file.path, file.origin) for file in model.files if file.action == "added"],
    )


def seal(text: str) -> str:
    """Add the last line that tells an unedited card from one that somebody changed by hand."""
    text = text.rstrip("\n") + "\n"
    return f"{text}\n<!-- splade-patcher card {hashlib.sha256(text.encode()).hexdigest()} -->\n"


def front_matter(text: str, source: Source, **ours: Any) -> str:
    """The metadata of a model that was made from another one: that of its card, the base model, and `ours` (with tags).

    What the other card says stays as it is where it can't be read, so that no licence is lost.
    """
    import yaml

    block, found = split_card(text)[0], read_metadata(text)
    if block.strip() and not found:
        return block
    base = source.origin or found.get("base_model")
    language = ["no" if one is False else one for one in _listed(found.get("language")) if one is not None]
    tags = [*_listed(ours.pop("tags", [])), *(one for one in _listed(found.get("tags")) if isinstance(one, str))]
    data = {
        **{key: value for key, value in found.items() if key not in {"model-index", "model_name"}},
        **({"language": language} if language else {}),
        **({"base_model": base, "base_model_relation": "finetune"} if base else {}),
        **ours,
        "tags": list(dict.fromkeys(tags)),
    }
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def retarget(text: str, old: str, new: str) -> str:
    """The card with the name that its examples load replaced; sealed again where it was sealed."""
    body = _SEAL.sub("", text) if is_sealed(text) else text
    body = body.replace(literal(old), literal(new))
    return seal(body) if is_sealed(text) else body


def is_sealed(text: str) -> bool:
    """Whether this tool wrote the card and nobody edited it since."""
    text = text.replace("\r\n", "\n")
    found = _SEAL.search(text)
    return found is not None and hashlib.sha256(text[: found.start()].encode()).hexdigest() == found[1]


def is_ours(path: Path) -> bool:
    """Whether a card may be replaced: it does not exist, or this tool wrote it and nobody edited it since."""
    return not path.exists() or is_sealed(path.read_text("utf-8", "replace"))


def write(model: PatchedModel, report: Report | None, model_id: str) -> Path:
    """Write README.md into the folder of the model, atomically, and return its path."""
    path = model.folder / CARD
    write_atomically(path, render(model, report, model_id))
    return path


def _metadata(model: PatchedModel) -> str:
    """The front matter of the card, as YAML."""
    from huggingface_hub import ModelCardData  # not above: the HTTP client costs memory while a model runs

    base: Mapping[str, Any] = model.base_card
    link = base.get("license_link")
    own = [tag for tag in base.get("tags", []) if isinstance(tag, str) and _TAG.fullmatch(tag)]
    raw = ["raw-logits"] if model.soft_cap and not model.soft_cap.kept else []
    ours = ["splade", "sparse-retrieval", *raw, "custom_code"]
    is_splade = model.soft_cap is not None or model.is_trained_splade
    tags = [*(ours if is_splade else ["custom_code"]), *own]
    data = ModelCardData(
        language=[one for one in map(_plain, base.get("language") or []) if one] or None,
        license=_licence(base.get("license")),
        license_name=_plain(base.get("license_name")),
        license_link=link if isinstance(link, str) and _LINK.fullmatch(link) else None,
        base_model=model.source.origin,
        base_model_relation="finetune" if model.source.origin else None,
        library_name="sentence-transformers" if model.loaded_by in (SENTENCE, SPARSE) else "transformers",
        pipeline_tag=_TASKS.get(model.loaded_by),
        tags=list(dict.fromkeys(tag for tag in tags if tag not in {"onnx", "openvino", "quantized"})),
    )
    return data.to_yaml()


def _licence(value: Any) -> Any:
    """The licence of the source: its id, or the list of several."""
    names = [_plain(one) for one in value] if isinstance(value, list) else None
    return _plain(value) if names is None else [one for one in names if one]


def _plain(value: Any) -> str | None:
    """A string of the upstream card on one line, so that it can't end the front matter."""
    return " ".join(value.split())[:200] if isinstance(value, str) else None


def _texts(report: Report) -> str:
    """How many texts were run, in which languages, and how many of them the user gave."""
    bundled = [one for one in report.probe_texts if not is_own(one)]
    names = [LANGUAGES[code] for code in LANGUAGES if code in {one["language"] for one in bundled}]
    if not names:
        return f"{report.texts:,} texts"
    listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    own = report.texts - len(bundled)  # the bundled ones come first, and a report has the terms of all of them
    return f"{len(bundled)} texts in {listed}" + (f" and {own:,} of the user's own" if own else "")


def _max_length(model: PatchedModel) -> int | None:
    """The number of tokens that the model can take, by its configuration; None where that says nothing."""
    path = model.folder / join(model.encoders[0] if model.encoders else "", CONFIG)
    try:
        return context_length(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return None


def _applied(model: PatchedModel) -> list[dict[str, str]]:
    why = {
        "computed_buffers": "buffers that `__init__` computes, such as rotary tables, keep their values; "
        "otherwise transformers 5 leaves uninitialised memory there",
        "tied_weights": "`_tied_weights_keys` is no longer a list, and ties in transformers 5 what 4.57 ties",
        "removed_methods": "`post_init` and `tie_weights` are called and defined as transformers 5 requires",
        "config_defaults": "the configuration has the attributes that its base class lost in transformers 5, "
        "with the values of 4.57",
        "rotary_tables": "the rotary tables are computed again in `_init_weights`; "
        "otherwise transformers 5 leaves uninitialised memory there",  # the name in earlier records
        "is_decoder": "`config.is_decoder`, which transformers 5 no longer defines, is read with a default",
        "drop_bos": "the synthetic first row of the logits is zero, so the bos token is not active in every vector; "
        "every other row is the same",
        "max_length": "`tokenizer_config.json` says how many tokens the model can take (`model_max_length`), so that "
        "SparseEncoder truncates longer texts instead of failing on them",
        "checkpointing": "gradient checkpointing uses `use_reentrant=False`, which DistributedDataParallel needs",
    }
    names = [result.name for result in model.codemods if result.status == "applied"]
    return [{"name": name, "why": why[name]} for name in dict.fromkeys(names) if name in why]
