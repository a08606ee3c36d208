"""A batch that does not fit into memory is halved, and each text is counted once."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import _get_current_dispatch_mode

from patcher.codec import to_json
from patcher.patching.record import load
from patcher.verify.measure.batches import Encoded
from patcher.verify.measure.logits import measure
from patcher.verify.measure.runner import Runner
from patcher.verify.requests import prepare
from patcher.verify.settings import Verification
from patcher.verify.texts import load_probe_texts
from patcher.verify.verification import verify
from tests.verify.running import TEXTS, edit, failed, wanted

gpu = pytest.mark.gpu
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")


@gpu
@needs_cuda
def test_a_device_without_memory_gets_smaller_batches(patched: Path, tmp_path: Path) -> None:
    """A real shortage: the process may have just what a batch of one text needs and a little more."""
    code = (
        "import json, sys, torch\nfrom pathlib import Path\nfrom patcher.codec import read_json\n"
        "from patcher.verify.measure.logits import measure\nfrom patcher.verify.messages import Request\n"
        "torch.cuda.init()\nfree, total = torch.cuda.mem_get_info()\n"
        "torch.cuda.set_per_process_memory_fraction(60_000_000 / total)\n"
        "answer = measure(read_json(Request, Path(sys.argv[1]).read_text()))\n"
        "print(json.dumps([answer.failure, answer.batch_size, answer.positions]))"
    )
    request = prepare(load(patched), tmp_path / "scratch", Verification(load_probe_texts()), "cuda")
    (tmp_path / "request.json").write_text(json.dumps(to_json(replace(request, max_batch_tokens=1 << 16))))
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "request.json")], capture_output=True, text=True, check=True
    )
    failure, size, positions = json.loads(done.stdout.splitlines()[-1])
    assert failure is None and size < 32 and positions > 0


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_counted_twice(patched: Path, tmp_path: Path) -> None:
    model, asked = load(patched), Verification(load_probe_texts(), ("cpu",))
    whole = measure(prepare(model, tmp_path / "whole", asked, "cpu"))
    edit(
        patched,
        "        hidden_states = self.get_contextualized_embeddings(input_ids, attention_mask)\n",
        "        if input_ids.shape[0] > 2:\n            raise torch.OutOfMemoryError('CUDA out of memory')\n"
        "        hidden_states = self.get_contextualized_embeddings(input_ids, attention_mask)\n",
    )
    report = verify(load(patched), asked)
    assert report.environment["batch_size"] <= 2 and whole.batch_size == 32
    assert not failed(report)
    assert [text["id"] for text in report.probe_texts] == [text.id for text in whole.probe_texts]
    for side in ("base", "patched"):
        one, other = getattr(report, side), to_json(getattr(whole, side))
        assert sum(one["histogram"]["counts"]) == sum(other["histogram"]["counts"])
        assert sum(bin["texts"] for bin in one["by_length"]) == len(asked.texts)
        for key in ("min", "max", "logit_sparsity", "negative_fraction"):
            assert one[key] == pytest.approx(other[key], rel=1e-5)


@pytest.mark.parametrize("error", ["MemoryError()", "RuntimeError('MPS backend out of memory')"])
def test_memory_that_one_text_alone_lacks_could_not_be_measured(patched: Path, tmp_path: Path, error: str) -> None:
    edit(
        patched, "        first_row = torch.zeros_like", f"        raise {error}\n        first_row = torch.zeros_like"
    )
    answer = measure(prepare(load(patched), tmp_path / "scratch", wanted(), "cpu"))
    assert answer.failure is None and answer.unavailable is not None
    assert error.partition("(")[0] in str(answer.unavailable)


def test_other_errors_are_not_taken_for_a_lack_of_memory(patched: Path, tmp_path: Path) -> None:
    edit(
        patched,
        "        first_row = torch.zeros_like",
        "        assert input_ids.shape[0] == 1, 'too many'\n        first_row = torch.zeros_like",
    )
    answer = measure(prepare(load(patched), tmp_path / "scratch", wanted(), "cpu"))
    assert answer.failure == "AssertionError: too many"


@pytest.fixture
def runner(patched_once: Path, tmp_path: Path) -> Runner[int]:
    """A runner for nine short texts."""
    request = prepare(load(patched_once), tmp_path / "scratch", wanted(*TEXTS * 3), "cpu")
    return Runner(request, str(patched_once), "cpu")


def test_a_batch_that_fails_is_added_once_in_halves(runner: Runner[int]) -> None:
    tried, added = [], []

    def forward(batch: list[Encoded], inputs: dict[str, torch.Tensor]) -> int:
        assert len(batch) == len(inputs["input_ids"])
        tried.append(len(batch))
        if len(batch) > 3:
            raise torch.OutOfMemoryError
        return len(batch)

    runner.run(forward, lambda batch, found: added.extend(one.index for one in batch[:found]))
    assert tried == [9, 5, 3, 2, 3, 1] and runner.size == 3
    assert sorted(added) == list(range(9))
    assert int(Path(runner.request.progress).read_text()) > 0


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, ValueError])
def test_an_error_that_smaller_batches_do_not_help_is_raised(runner: Runner[int], error: type[Exception]) -> None:
    sizes = []

    def forward(batch: list[Encoded], _: object) -> int:
        sizes.append(len(batch))
        raise error

    with pytest.raises(error):
        runner.run(forward, lambda *_: None)
    assert sizes == ([9, 5, 3, 2, 1] if error is torch.OutOfMemoryError else [9])


def test_one_pass_alone_is_watched_and_none_that_counts(runner: Runner[int]) -> None:
    class Model:
        """One that computes otherwise where its operations are watched, as a fused operation does."""

        def __call__(self, values: torch.Tensor) -> Any:
            watched = _get_current_dispatch_mode() is not None
            return SimpleNamespace(to_tuple=lambda: (values * 1.1 if watched else values * 2,))

    (found,) = runner.outputs(Model(), {"values": torch.ones(1, 2, 3)})
    assert bool((found == 2).all()), "a watched pass is never compared"
    first = runner.precision
    assert first is not None and first.roundings == 1
    assert torch.equal(runner.outputs(Model(), {"values": torch.zeros(1, 2, 3)})[0], torch.zeros(1, 2, 3))
    assert runner.precision is first and first.roundings == 1
