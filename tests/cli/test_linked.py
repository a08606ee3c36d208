"""Whatever runs a patched folder runs one whose weights are links: into the Hub's cache, or to a private folder."""

from __future__ import annotations

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from patcher.cli import main
from patcher.errors import VerificationError
from patcher.hashing import sha256_of
from patcher.patching.sharing import LINK
from patcher.pipeline.api import patch_model
from patcher.planning.options import Options
from patcher.planning.plan import make_plan
from patcher.retrieval.encoder import Settings, encode
from patcher.retrieval.model import find_model
from patcher.sandbox.bubblewrap import why_not
from patcher.source.snapshot import resolve
from patcher.threshold.evaluation import Evaluation
from patcher.threshold.measure import Request, measure
from patcher.threshold.repaired import repair
from tests.conftest import COMMIT, MINI

WEIGHTS = "model.safetensors"
TEXTS = Evaluation({"q": "Hvem skrev Sult?"}, {"d": "Sult er skrevet av Knut Hamsun."}, {"q": ("d",)}, bundled=False)
bubblewrap = pytest.mark.skipif(why_not() is not None, reason="bubblewrap does not run here")
each_sandbox = pytest.mark.parametrize("sandbox", [pytest.param("bubblewrap", marks=bubblewrap), "hook"])
both_places = pytest.mark.parametrize("place", ["cache", "folder"])


def from_cache(model: Path, home: Path) -> Path:
    """A model as a snapshot of the Hub's cache, whose weights are a blob."""
    snapshot = shutil.copytree(model, home / "hub" / "models--ltg--norbert4-base" / "snapshots" / COMMIT)
    blob = snapshot.parents[1] / "blobs" / sha256_of(model / WEIGHTS)
    blob.parent.mkdir()
    (snapshot / WEIGHTS).rename(blob)
    (snapshot / WEIGHTS).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


def linked(model: Path, place: str, tmp_path: Path, options: Options = Options()) -> Path:
    """A patched folder that links to the weights of its source, which nobody else may read."""
    home = tmp_path / "home"
    source = from_cache(model, home) if place == "cache" else shutil.copytree(model, home / "model")
    snapshot = resolve(str(source))
    out = tmp_path / "place" / f"linked-{tmp_path.name}"
    patch_model(make_plan(snapshot, options), snapshot, out, None, storage=LINK)
    assert (out / WEIGHTS).is_symlink()
    return out


def vector_of(folder: Path, sandbox: str) -> int:
    """How many dims a text is encoded to."""
    counts: list[int] = []
    model = find_model(str(folder), None, repair)
    settings = Settings("cpu", sandbox=sandbox)
    encode(model, {"query": ["Hvem skrev Sult?"]}, settings, lambda *got: counts.extend(got[2].counts))
    return counts[0]


@both_places
@each_sandbox
def test_it_encodes(place: str, sandbox: str, tmp_path: Path) -> None:
    assert vector_of(linked(MINI, place, tmp_path), sandbox) > 0


@bubblewrap
def test_a_link_that_was_turned_to_another_file_is_opened_to_nobody(tmp_path: Path) -> None:
    """Its code could read what the user alone may read, by changing a link once the folder was looked at."""
    out = linked(MINI, "folder", tmp_path)
    model = find_model(str(out), None, repair)
    (out / WEIGHTS).unlink()
    (out / WEIGHTS).symlink_to(shutil.copyfile(MINI / WEIGHTS, tmp_path / "home" / "other.safetensors"))
    with pytest.raises(VerificationError, match=r"no file named model\.safetensors"):
        encode(model, {"query": ["Hva?"]}, Settings("cpu", sandbox="bubblewrap"), lambda *_: None)


@bubblewrap
def test_a_threshold_is_measured(capped_once: Path, tmp_path: Path) -> None:
    out = linked(capped_once, "folder", tmp_path, Options.choose(["repairs"]))
    report = measure(repair(resolve(str(out))), TEXTS, Request(device="cpu", sandbox="bubblewrap"))
    assert report.rows and {check.name: check.passed for check in report.checks}["embeddings_finite"]


@pytest.mark.skipif(not (find_spec("onnx") and find_spec("onnxruntime")), reason="the extra `export` is not installed")
@bubblewrap
def test_it_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", linked(MINI, "folder", tmp_path), "--out", tmp_path / "graph", "--sandbox", "bubblewrap"]
    assert main([*map(str, words), "--trust-remote-code", "-q"]) == 0, capsys.readouterr().err


def test_it_is_searched_and_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, beir = linked(MINI, "folder", tmp_path), tmp_path / "beir"
    (beir / "qrels").mkdir(parents=True)
    for name, text in (("queries", "Hvem skrev Sult?"), ("corpus", "Sult er skrevet av Knut Hamsun.")):
        (beir / f"{name}.jsonl").write_text(json.dumps({"_id": name, "id": name, "text": text}))
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nqueries\tcorpus\t1\n")
    run = ["--trust-remote-code", "--device", "cpu", "-q"]
    assert main(["search", str(out), str(beir / "corpus.jsonl"), "Hvem skrev Sult?", *run]) == 0
    assert capsys.readouterr().out == "corpus\n"
    if find_spec("mteb"):
        results = str(tmp_path / "results")
        assert main(["evaluate", str(out), "--beir", str(beir), "--no-bm25", "--out", results, *run]) == 0
        assert capsys.readouterr().out == f"{results}/results\n"


@both_places
def test_sentence_transformers_loads_it_and_its_source_stays_when_it_saves(place: str, tmp_path: Path) -> None:
    from sentence_transformers import SparseEncoder

    out = linked(MINI, place, tmp_path)
    source = (out / WEIGHTS).resolve()
    model = SparseEncoder(str(out), trust_remote_code=True, device="cpu")
    assert 0 < int((model.encode_query(["Hvem skrev Sult?"], convert_to_sparse_tensor=False) > 0).sum()) < 1000
    model.save(str(out))
    assert not (out / WEIGHTS).is_symlink() and sha256_of(source) == sha256_of(MINI / WEIGHTS)
