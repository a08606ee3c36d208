"""A model with a built-in threshold gives the same embeddings on sentence-transformers 5 as on the installed one.

Needs a second environment, so it runs by `make test-sentence-transformers5`, which names its Python in
PATCHER_SENTENCE_TRANSFORMERS5.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from patcher.source.snapshot import resolve
from patcher.threshold.repaired import repair
from patcher.threshold.save import save
from tests.conftest import MINI, user_environment
from tests.threshold.made_up import PASSED

PYTHON5 = os.environ.get("PATCHER_SENTENCE_TRANSFORMERS5", "")
ENCODE = """
import json, sys, sentence_transformers
from sentence_transformers import SparseEncoder
model = SparseEncoder(sys.argv[1], trust_remote_code=True, device="cpu", local_files_only=True)
vector = model.encode_document(["Oslo er hovedstaden i Norge."], convert_to_sparse_tensor=False)[0]
ids = vector.nonzero().flatten().tolist()
weights = {number: round(float(vector[number]), 4) for number in ids}
print(json.dumps([sentence_transformers.__version__, type(model[-1]).__name__, weights]))
"""


def as_5_saves_it(model: Path, place: Path) -> Path:
    """The model with the names of modules and the tokenizer files that version 5 writes, which 6 reads as well."""
    folder = Path(shutil.copytree(model, place / "trained-by-5"))
    kinds = ("MLMTransformer", "SpladePooling")
    modules = json.loads((folder / "modules.json").read_text())
    for module, kind in zip(modules, kinds, strict=True):
        module["type"] = f"sentence_transformers.sparse_encoder.models.{kind}"
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 512, "do_lower_case": false}')
    (folder / "1_SpladePooling" / "config.json").write_text(
        '{"pooling_strategy": "max", "activation_function": "relu"}'
    )
    for path in MINI.glob("*token*"):
        shutil.copy(path, folder / path.name)
    return folder


@pytest.mark.skipif(not PYTHON5, reason="run `make test-sentence-transformers5`")
def test_a_built_in_threshold_works_on_sentence_transformers_5(hand_made_once: Path, tmp_path: Path) -> None:
    folder = save(repair(resolve(str(as_5_saves_it(hand_made_once, tmp_path)))), PASSED, tmp_path / "with-threshold")

    def encoded(python: str) -> tuple[str, str, dict[str, float]]:
        environment = {name: value for name, value in user_environment(tmp_path).items() if name != "PYTHONPATH"}
        environment["HF_MODULES_CACHE"] = str(tmp_path / Path(python).parents[1].name)
        words = [python, "-c", ENCODE, str(folder)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr
        version, module, weights = json.loads(done.stdout.splitlines()[-1])
        return version, module, weights

    version, module, weights = encoded(PYTHON5)
    assert version.startswith("5.") and module == "SparseThreshold"
    here = encoded(sys.executable)
    assert here[1:] == (module, weights) and 0 < len(weights) < 1000
