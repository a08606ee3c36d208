"""What the Hub says about a card, through the client."""

from __future__ import annotations

import warnings

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from tests.hub import LocalHub
from tests.hub.cards import card_data, check_card

GOOD = """---
license: apache-2.0
language:
- nb
- "no"
base_model: ltg/norbert4-base
base_model_relation: finetune
library_name: sentence-transformers
tags: [splade]
---
# A model
"""


def test_a_good_card_is_accepted_and_read(hub: LocalHub, api: HfApi) -> None:
    hub.create_repo("ola/x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        api.create_commit("ola/x", [CommitOperationAdd("README.md", GOOD.encode())], commit_message="Card")
    info = api.model_info("ola/x")
    assert info.card_data.language == ["nb", "no"]
    assert info.library_name == "sentence-transformers"
    assert {"license:apache-2.0", "base_model:finetune:ltg/norbert4-base", "splade"} <= set(info.tags)


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("language: no", '"language" must be a string'),
        ("language: [nb, no]", r'"language\[1\]" must be a string'),
        ("language: Norwegian", "ISO 639"),
        ("license: free", '"license" must be one of'),
        ("base_model_relation: patched", r'"base_model_relation" must be one of \[adapter, merge'),
        ("base_model: not a model", "is not the id of a model"),
        ("tags: [1]", r'"tags\[0\]" must be a string'),
        ("model-index: {}", '"model-index" must be an array'),
        ("a: [", "Invalid YAML"),
        ("- a", "must be a mapping"),
    ],
)
def test_a_bad_card_is_refused_before_anything_is_sent(hub: LocalHub, api: HfApi, yaml: str, message: str) -> None:
    head = hub.create_repo("ola/x")
    card = f"---\n{yaml}\n---\n# A model\n"
    with pytest.raises(ValueError, match=message):
        api.create_commit("ola/x", [CommitOperationAdd("README.md", card.encode())], commit_message="Card")
    assert hub.head("ola/x") == head
    assert [r.path for r in hub.requests] == ["/api/validate-yaml"]


def test_a_card_without_metadata_only_warns(hub: LocalHub, api: HfApi) -> None:
    hub.create_repo("ola/x")
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        api.create_commit("ola/x", [CommitOperationAdd("README.md", b"# Hi")], commit_message="Card")
    assert api.model_info("ola/x").card_data is None


def test_windows_line_ends_are_read() -> None:
    assert card_data("---\r\nlicense: mit\r\n---\r\ntext") == {"license": "mit"}
    assert check_card(GOOD).errors == ()
