"""Prints what the base classes of the installed transformers have, as JSON. Runs on 4.57 as well.

Usage: python versions.py [MODEL_TYPE...]; without one, every configuration class is read.
"""

import json
import logging
import sys
import warnings

import transformers
from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING


def is_json(value: object) -> bool:
    try:
        return json.loads(json.dumps(value)) == value
    except (TypeError, ValueError):
        return False


def is_named(name: str) -> bool:
    """Whether code of others may name what the base class of models has: it also calls methods with an underscore."""
    return not name.startswith("_") or (not name.startswith("__") and callable(getattr(PreTrainedModel, name)))


def values(config: object) -> dict[str, object]:
    """The attributes of a configuration that config.json could hold, with their values."""
    found = {}
    for name in dir(config):
        try:
            value = getattr(config, name)
        except Exception:  # a property that this class has no value for
            continue
        if not name.startswith("_") and not callable(value) and is_json(value):
            found[name] = value
    return found


def types(kinds: list[str]) -> dict[str, object]:
    """The attributes of each configuration class that can be made without arguments, by its model type."""
    found = {}
    for kind in kinds or CONFIG_MAPPING:
        try:
            config = CONFIG_MAPPING[kind]()
        except Exception:  # one that wants arguments, or a library that is not here
            continue
        found[kind] = {"name": type(config).__name__, "values": values(config)}
    return found


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    print(
        json.dumps(
            {
                "version": transformers.__version__,
                "config": values(PretrainedConfig()),
                "not_loaded": sorted(getattr(GenerationConfig, "_get_default_generation_params", dict)()),
                "model": sorted(name for name in dir(PreTrainedModel) if is_named(name)),
                "types": types(sys.argv[1:]),
            }
        )
    )
