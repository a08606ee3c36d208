"""A tokenizer that does not say how long a text may be is told so; every other byte of its configuration stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from patcher.codemods import Applied, NotNeeded, max_length
from patcher.patching.record import load
from patcher.pipeline.api import patch_model
from patcher.planning.plan import make_plan
from patcher.source.snapshot import resolve

NO_LIMIT = {
    "absent": "",
    "a placeholder": '  "model_max_length": 1000000000000000019884624838656,\n',
    "null": '  "model_max_length": null,\n',
}


@pytest.mark.parametrize("limit", NO_LIMIT.values(), ids=NO_LIMIT)
@pytest.mark.parametrize("key", ["max_sequence_length", "max_position_embeddings", "n_positions"])
def test_the_context_of_the_configuration_is_written_where_there_is_no_limit(key: str, limit: str) -> None:
    before = f'{{\n{limit}  "å": [1, 2]\n}}\n'.encode()
    made = max_length(before, {key: 512})
    assert isinstance(made, Applied)
    assert json.loads(made.code) == {**json.loads(before), "model_max_length": 512}
    assert '  "å": [1, 2]'.encode() in made.code and made.code.endswith(b"}\n")
    assert isinstance(max_length(made.code, {key: 512}), NotNeeded), "a second run changes nothing"


@pytest.mark.parametrize(
    ("content", "config", "why"),
    [
        ('{"model_max_length": 256}', {"max_sequence_length": 512}, "truncates at 256 tokens"),
        ("{}", {}, "does not say"),
        ("{}", {"max_sequence_length": -1}, "does not say"),
        ("{}", {"max_sequence_length": True}, "does not say"),
        ("[]", {"max_sequence_length": 512}, "can't be read"),
        ("{", {"max_sequence_length": 512}, "can't be read"),
    ],
)
def test_it_is_left_alone_where_it_says_so_or_nobody_does(content: str, config: dict[str, Any], why: str) -> None:
    made = max_length(content.encode(), config)
    assert isinstance(made, NotNeeded) and why in made.reason


def test_a_text_longer_than_the_context_is_cut_by_sentence_transformers(mini: Path, tmp_path: Path) -> None:
    from sentence_transformers import SparseEncoder

    path = mini / "tokenizer_config.json"
    path.write_bytes(path.read_bytes().replace(b'  "model_max_length": 1024,\n', b""))
    snapshot = resolve(str(mini))
    model = patch_model(make_plan(snapshot), snapshot, tmp_path / "cut-at-1024", None)
    record = load(model.folder).file("tokenizer_config.json")
    assert record is not None and record.action == "changed"
    vector = SparseEncoder(str(model.folder), trust_remote_code=True).encode_document(["fjord " * 3000])
    assert vector.coalesce().values().isfinite().all()
