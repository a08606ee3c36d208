"""The reference for "right": the code as published on transformers 4.57, against the patched code on transformers 5.

Needs a second environment, so it runs by `make test-transformers4`, which names its Python in PATCHER_TRANSFORMERS4.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from patcher.patching.record import load
from patcher.verify.original import run_original
from patcher.verify.settings import MAX_TOKENS
from patcher.verify.texts import load_probe_texts
from patcher.verify.verification import verify
from tests.codemods.tables import REPAIRED
from tests.codemods.tools import tables_to_load
from tests.conftest import MINI, ROOT, Run, user_environment
from tests.finetuned import write_classifier, write_dense
from tests.verify.running import edit, failed, repaired, wanted

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


def test_a_repaired_splade_model_agrees(trained: Path, tmp_path: Path) -> None:
    assert agreement(repaired(trained, tmp_path / f"out-{tmp_path.name}")) <= 1e-5


def test_the_embeddings_of_a_repaired_dense_model_are_those_of_the_original(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    texts = [text.text for text in load_probe_texts()[:8]]
    out = repaired(write_dense(tmp_path / "model"), tmp_path / f"out-{tmp_path.name}")
    assert agreement(out, *texts) <= 1e-5
    found = run_original(load(out), wanted(*texts, reference=Path(PYTHON4)), tmp_path / "outputs")
    assert found is not None and found.texts == len(texts)
    outputs = [load_file(tmp_path / "outputs" / f"{index}.safetensors")["output"] for index in range(len(texts))]
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
