"""The reference for "right": the code as published on transformers 4.57, against the patched code on transformers 5.

Needs a second environment, so it runs by `make test-transformers4`, which names its Python in PATCHER_TRANSFORMERS4.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from patcher.codemods import Applied
from patcher.patching.record import load
from patcher.planning.options import Options
from patcher.planning.rewriting import rewrite_code
from patcher.verify.original import run_original
from patcher.verify.settings import MAX_TOKENS
from patcher.verify.texts import load_probe_texts
from patcher.verify.verification import verify
from tests.codemods.configurations import CONFIGURATIONS, REFUSED
from tests.codemods.configurations_nested import NESTED
from tests.codemods.heads_tied import TIED_HEADS
from tests.codemods.tables import REPAIRED
from tests.codemods.test_config_defaults import outcomes
from tests.codemods.tools import tables_to_load
from tests.compatibility.table import TABLE, described, table, text
from tests.conftest import MINI, ROOT, Run, user_environment
from tests.finetuned import write_classifier, write_dense, write_inference_free, write_pickled, write_splade_51
from tests.verify.running import edit, failed, repaired, wanted

PYTHON5 = sys.executable
PYTHON4 = os.environ.get("PATCHER_TRANSFORMERS4", "")
pytestmark = pytest.mark.skipif(not PYTHON4, reason="run `make test-transformers4`")


def logits(python: str, folder: Path, place: Path) -> tuple[torch.Tensor, torch.Tensor, str]:
    """From another Python: logits [positions, vocabulary] of all texts, which of them are synthetic rows [positions],
    and its transformers."""
    place.mkdir()
    (place / "texts.json").write_text(json.dumps([text.text for text in load_probe_texts()]))
    environment = {key: value for key, value in user_environment(place).items() if key != "PYTHONPATH"}
    environment |= {"HF_MODULES_CACHE": str(place / "modules"), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    script = Path(__file__).with_name("logits.py")
    command = [
        python,
        str(script),
        str(folder),
        str(place / "texts.json"),
        str(MAX_TOKENS),
        str(place / "out.safetensors"),
    ]
    subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    version = [python, "-c", "import transformers; print(transformers.__version__)"]
    tensors = load_file(place / "out.safetensors")
    answer = subprocess.run(version, env=environment, check=True, capture_output=True, text=True)
    return tensors["logits"], tensors["synthetic"], answer.stdout.strip()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.Tensor, torch.Tensor]:
    found, synthetic, version = logits(PYTHON4, MINI, tmp_path_factory.mktemp("four") / "run")
    assert version.startswith("4.57")
    return found, synthetic


def difference(original: tuple[torch.Tensor, torch.Tensor], patched: torch.Tensor, folder: Path) -> float:
    """Largest difference through the cap over real positions, and of the synthetic row as it is."""
    cap = load(folder).soft_cap
    base, synthetic = original
    capped = cap.scale * torch.sigmoid(patched / cap.temperature)
    return float((base - torch.where(synthetic[:, None], patched, capped)).abs().max())


def test_the_original_on_4_and_the_patched_on_5_agree_through_the_cap(
    original: tuple[torch.Tensor, torch.Tensor], patched_once: Path, tmp_path: Path
) -> None:
    found, _, version = logits(sys.executable, patched_once, tmp_path / "five")
    assert version.startswith("5.")
    largest = difference(original, found, patched_once)
    print(f"\nlargest difference through the cap, 4.57 against {version}: {largest:.3g}")
    assert largest <= 1e-5


def test_the_patched_model_gives_the_same_on_4(
    original: tuple[torch.Tensor, torch.Tensor], patched_once: Path, tmp_path: Path
) -> None:
    found, _, version = logits(PYTHON4, patched_once, tmp_path / "four")
    assert version.startswith("4.57")
    assert difference(original, found, patched_once) <= 1e-5


def test_the_table_of_what_5_took_away_is_that_of_the_two_versions() -> None:
    kinds = ("bert", "llama", "mt5", "bart")
    made, stored = table(described(PYTHON4, *kinds), described(sys.executable, *kinds)), json.loads(TABLE.read_bytes())
    types = {kind: stored["types"][kind] for kind in kinds}
    assert json.loads(text(made)) == {**stored, "types": types}


def attributes(python: str, folders: Mapping[Path, Sequence[str]], place: Path) -> dict[str, list[list[Any]]]:
    """The attributes of configurations in another Python, by folder: as loaded, and saved and loaded again."""
    place.mkdir()
    names = {str(folder): list(names) for folder, names in folders.items()}
    (place / "folders.json").write_text(json.dumps(names), "utf-8")
    command = [python, Path(__file__).with_name("attributes.py"), place / "folders.json"]
    environment = {key: value for key, value in user_environment(place).items() if key != "PYTHONPATH"}
    environment |= {"HF_MODULES_CACHE": str(place / "modules"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, list[list[Any]]] = json.loads(done.stdout)
    return found


def test_every_attribute_that_is_read_has_4_57_s_value(tmp_path: Path) -> None:
    """Of each way to read and to define one; on 5, saved and loaded again as well, and on 4.57 after the repair."""
    known = [one for one in [*CONFIGURATIONS, *NESTED] if one.where != REFUSED]
    published = {one.write(tmp_path / f"published-{index}"): one.keys for index, one in enumerate(known)}
    repaired = {one.write(tmp_path / f"repaired-{index}"): one.keys for index, one in enumerate(known)}
    for folder, one in zip(repaired, known, strict=True):
        for path, outcome in outcomes(one.files()).items():
            if isinstance(outcome, Applied):
                (folder / path).write_bytes(outcome.code)
    original = attributes(PYTHON4, published, tmp_path / "original").values()
    on_4 = attributes(PYTHON4, repaired, tmp_path / "on-4").values()
    on_5 = attributes(PYTHON5, repaired, tmp_path / "on-5").values()
    for one, (before, _), (same, _), (after, saved) in zip(known, original, on_4, on_5, strict=True):
        assert before == same == after == saved, one.name


def outputs(python: str, folders: Iterable[Path], place: Path) -> dict[str, torch.Tensor]:
    """What models of random weights give in another Python, by their number; as loaded, and saved and loaded again."""
    place.mkdir()
    command = [python, Path(__file__).with_name("outputs.py"), place / "out.safetensors", *folders]
    environment = {key: value for key, value in user_environment(place).items() if key != "PYTHONPATH"}
    environment |= {"HF_MODULES_CACHE": str(place / "modules"), "HF_HUB_OFFLINE": "1"}
    subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return load_file(place / "out.safetensors")


def test_a_head_is_tied_in_5_where_4_57_ties_it(tmp_path: Path) -> None:
    """Each with two different tensors in its checkpoint, so that a head that is tied or not gives another output."""
    known = [one for one in TIED_HEADS if one.written]
    folders = [(tmp_path / f"published-{index}", tmp_path / f"repaired-{index}") for index in range(len(known))]
    for (published, target), one in zip(folders, known, strict=True):
        one.write(published)
        shutil.copytree(published, target)
        files = {path.name: path.read_bytes() for path in published.iterdir()}
        modules = {name: content for name, content in files.items() if name.endswith(".py")}
        config = json.loads(files["config.json"])
        for name, content in rewrite_code(modules, config, Options.choose(["repairs"])).contents.items():
            (target / name).write_bytes(content)
    original = outputs(PYTHON4, [published for published, _ in folders], tmp_path / "original")
    for python, name in ((PYTHON4, "on-4"), (PYTHON5, "on-5")):
        found = outputs(python, [target for _, target in folders], tmp_path / name)
        for index, one in enumerate(known):
            for key in (f"{index}", f"{index} saved"):
                assert torch.equal(found[key], original[f"{index}"]), (name, one.name)


def test_the_original_on_5_does_not_even_load(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        logits(sys.executable, MINI, tmp_path / "five")
    assert "is_decoder" in caught.value.stderr


def test_tables_of_every_form_are_as_the_constructor_makes_them(tmp_path: Path) -> None:
    cases, script = tmp_path / "cases.json", ROOT / "tests" / "codemods" / "loading.py"
    cases.write_text(json.dumps(tables_to_load()))
    environment = {key: value for key, value in user_environment(tmp_path).items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [PYTHON4, str(script), str(cases)], env=environment, capture_output=True, text=True, check=True
    )
    assert set(json.loads(done.stdout)) == {table.name for table in REPAIRED if table.wrong_on_4}


# `--reference`: the same proof, made by the tool itself


def agreement(folder: Path, *texts: str) -> float:
    """The share of the largest output by which a folder differs from the published code, which has to agree."""
    report = verify(load(folder), wanted(*texts, reference=Path(PYTHON4)))
    assert report.passed, report.checks
    (check,) = [one for one in report.checks if one.name == "reference_agrees"]
    assert check.value is not None and "4.57" in check.detail
    return check.value * 1e-5 / check.limit


@pytest.mark.parametrize("task", ["SequenceClassification", "TokenClassification", "QuestionAnswering"])
def test_a_repaired_classifier_agrees(tmp_path: Path, task: str) -> None:
    folder = write_classifier(tmp_path / "model", task, 2)
    assert agreement(repaired(folder, tmp_path / f"out-{tmp_path.name}")) <= 1e-5


@pytest.mark.parametrize("version", ["6.2", "5.1", "inference-free", "pickled"])
def test_a_repaired_splade_model_agrees(trained: Path, loading: Path, tmp_path: Path, version: str) -> None:
    """Every tensor of the checkpoint is used, and the model saved and loaded again gives the same."""
    folder = {
        "6.2": lambda target: trained,
        "5.1": write_splade_51,
        "inference-free": lambda target: write_inference_free(target, loading),
        "pickled": write_pickled,
    }[version](tmp_path / f"model-{tmp_path.name}")
    out = repaired(folder, tmp_path / f"out-{tmp_path.name}")
    assert agreement(out) <= 1e-5
    if version != "pickled":
        assert load(out).loaded_by == "SparseEncoder"


def outputs_of_original(out: Path, texts: Sequence[str], place: Path) -> list[torch.Tensor]:
    """What the code as published gives on 4.57 for each text: [positions, dimensions]."""
    found = run_original(load(out), wanted(*texts, reference=Path(PYTHON4)), place)
    assert found is not None and found.texts == len(texts)
    return [load_file(place / f"{index}.safetensors")["output"] for index in range(len(texts))]


def test_the_embeddings_of_a_repaired_splade_model_are_those_of_the_original(tmp_path: Path) -> None:
    from sentence_transformers import SparseEncoder

    texts = [text.text for text in load_probe_texts()[:8]]
    out = repaired(write_splade_51(tmp_path / "model"), tmp_path / f"out-{tmp_path.name}")
    outputs = outputs_of_original(out, texts, tmp_path / "outputs")
    before = torch.stack([output[:512].relu().log1p().amax(0) for output in outputs])
    model = SparseEncoder(str(out), trust_remote_code=True, device="cpu")
    assert [type(module).__name__ for module in model][-1] == "SpladePooling" and model.max_seq_length == 512
    after = model.encode(texts, convert_to_sparse_tensor=False)
    assert before.shape == after.shape == (8, 8192)
    assert float((before - after).abs().max()) <= 1e-5


def test_the_embeddings_of_a_repaired_dense_model_are_those_of_the_original(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    texts = [text.text for text in load_probe_texts()[:8]]
    out = repaired(write_dense(tmp_path / "model"), tmp_path / f"out-{tmp_path.name}")
    assert agreement(out, *texts) <= 1e-5
    outputs = outputs_of_original(out, texts, tmp_path / "outputs")
    model = SentenceTransformer(str(out), trust_remote_code=True, device="cpu")
    assert model.prompts["query"] == "spørsmål: "
    before = torch.nn.functional.normalize(torch.stack([output[:128].mean(0) for output in outputs]), dim=1)
    after = model.encode(texts, convert_to_tensor=True)
    assert float((before - after).abs().max()) <= 1e-5


def test_the_command_compares_a_model_whose_cap_was_removed(cli: Run, tmp_path: Path) -> None:
    out = tmp_path / "norbert4-mini-splade"
    flags = ("--trust-remote-code", "--reference", PYTHON4, "--json")
    done = cli("patch", MINI, "--out", out, *flags)
    assert done.returncode == 0, done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["report"]["checks"]}
    assert checks["reference_agrees"]["value"] <= 1e-4 and checks["reference_agrees"]["passed"]


def test_a_model_that_computes_something_else_does_not_agree(tmp_path: Path) -> None:
    """A change that nothing else sees: it is in the code of both the loaded model and the fresh one."""
    out = repaired(write_dense(tmp_path / "model"), tmp_path / f"out-{tmp_path.name}")
    edit(out, "10_000", "10_010")
    report = verify(load(out), wanted(reference=Path(PYTHON4)))
    assert failed(report) == {"reference_agrees"}
