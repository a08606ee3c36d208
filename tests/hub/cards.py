"""Model cards as the Hub reads them: the YAML block, its checks, and the tags that follow from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

__all__ = ["CardCheck", "card_data", "check_card", "tags_of"]

FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)\r?\n?---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
BASE_MODEL_RELATIONS = ("adapter", "merge", "quantized", "finetune")
LICENSES = tuple(
    (  # noqa: SIM905
        "apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m "
        "bigscience-bloom-rail-1.0 bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause "
        "bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 "
        "cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 "
        "cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 "
        "cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 "
        "etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc "
        "lppl-1.3c ms-pl apple-ascl mpl-2.0 odc-by odbl openmdw-1.0 openrail++ osl-3.0 postgresql "
        "ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license "
        "fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 gemma "
        "unknown other"
    ).split()
)
STRING_LISTS = ("tags", "datasets", "metrics", "base_model")
STRINGS = ("pipeline_tag", "library_name", "license_name", "license_link", "inference")
REPO_ID = re.compile(r"^[\w.-]+(/[\w.-]+)?$")


@dataclass(frozen=True)
class CardCheck:
    errors: tuple[str, ...]
    warnings: tuple[str, ...]

    def body(self) -> dict[str, list[dict[str, str]]]:
        return {
            "errors": [{"message": message} for message in self.errors],
            "warnings": [{"message": message} for message in self.warnings],
        }


def card_data(content: str) -> dict[str, Any] | None:
    """The YAML block of a card, or None where there is none or it can't be read."""
    try:
        return _parse(content)
    except ValueError:
        return None


def check_card(content: str) -> CardCheck:
    """What the Hub says about a card: errors refuse it, warnings don't."""
    try:
        data = _parse(content)
    except ValueError as error:
        return CardCheck((str(error),), ())
    if not data:
        return CardCheck((), ("empty or missing yaml metadata in repo card",))
    return CardCheck(tuple(_errors(data)), ())


def tags_of(data: dict[str, Any] | None) -> list[str]:
    """The tags that the Hub derives, such as `license:mit` and `base_model:finetune:owner/name`."""
    data = data or {}
    tags = [str(tag) for tag in _listed(data.get("tags"))]
    tags += [str(data[key]) for key in ("library_name", "pipeline_tag") if data.get(key)]
    tags += [str(language) for language in _listed(data.get("language"))]
    tags += [f"dataset:{name}" for name in _listed(data.get("datasets"))]
    for base in _listed(data.get("base_model")):
        tags.append(f"base_model:{base}")
        if data.get("base_model_relation"):
            tags.append(f"base_model:{data['base_model_relation']}:{base}")
    if data.get("license"):
        tags.append(f"license:{data['license']}")
    return list(dict.fromkeys(tags))


def _parse(content: str) -> dict[str, Any] | None:
    match = FRONT_MATTER.match(content)
    if match is None:
        return None
    try:
        data = yaml.safe_load(match.group(1))
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" ({where.line + 2}:{where.column + 1})" if where else ""
        raise ValueError(f"Invalid YAML: {getattr(error, 'problem', None) or error}{line}") from None
    if data is not None and not isinstance(data, dict):
        raise ValueError("Invalid YAML: the metadata block must be a mapping")
    return data


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _errors(data: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for index, language in enumerate(_listed(data.get("language"))):
        where = f"language[{index}]" if isinstance(data["language"], list) else "language"
        if not isinstance(language, str):
            # Unquoted `no` is false in YAML 1.1: the classic trap of a Norwegian card.
            found.append(f'"{where}" must be a string')
        elif not re.fullmatch(r"[a-z]{2,4}(-[A-Za-z0-9]+)*|code|multilingual", language):
            found.append(f'"{where}" must be an ISO 639-1, 639-2 or 639-3 code, or a special value')
    for licence in _listed(data.get("license")):
        if not isinstance(licence, str):
            found.append('"license" must be a string')
        elif licence not in LICENSES:
            found.append(f'"license" must be one of [{", ".join(sorted(LICENSES))}]')
    relation = data.get("base_model_relation")
    if relation is not None and relation not in BASE_MODEL_RELATIONS:
        found.append(f'"base_model_relation" must be one of [{", ".join(BASE_MODEL_RELATIONS)}]')
    for key in STRING_LISTS:
        for index, item in enumerate(_listed(data.get(key))):
            if not isinstance(item, str):
                found.append(f'"{key}[{index}]" must be a string')
            elif key == "base_model" and not REPO_ID.match(item):
                found.append(f'"base_model[{index}]" with value "{item}" is not the id of a model')
    for key in STRINGS:
        if key in data and not isinstance(data[key], (str, bool) if key == "inference" else str):
            found.append(f'"{key}" must be a string')
    index_data = data.get("model-index")
    if index_data is not None:
        found += _model_index_errors(index_data)
    return found


def _model_index_errors(index: Any) -> list[str]:
    if not isinstance(index, list):
        return ['"model-index" must be an array']
    found: list[str] = []
    for i, model in enumerate(index):
        if not isinstance(model, dict) or not isinstance(model.get("name"), str):
            found.append(f'"model-index[{i}].name" is required')
            continue
        for j, result in enumerate(_listed(model.get("results"))):
            where = f"model-index[{i}].results[{j}]"
            for key, inner in (("task", "type"), ("dataset", "type"), ("dataset", "name")):
                if not isinstance(result.get(key), dict) or not result[key].get(inner):
                    found.append(f'"{where}.{key}.{inner}" is required')
            for k, metric in enumerate(_listed(result.get("metrics"))):
                for key in ("type", "value"):
                    if not isinstance(metric, dict) or key not in metric:
                        found.append(f'"{where}.metrics[{k}].{key}" is required')
    return found
