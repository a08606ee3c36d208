from __future__ import annotations

from typing import Any

from transformers.configuration_utils import PretrainedConfig


class GptBertConfig(PretrainedConfig):
    """Configuration of a GPT-BERT model; every key of config.json becomes an attribute."""

    model_type = "gptbert"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for key, value in kwargs.items():
            setattr(self, key, value)
