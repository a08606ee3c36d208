"""The mutations fit the code as it is now, and no check of a verification is without one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from patcher.planning.options import CodemodResult
from patcher.verify.checks import judge, judge_reference, judge_single
from patcher.verify.messages import Agreement, EncoderFigures, EncoderLoaded, OriginalRun, SingleMeasured
from tests.conftest import ROOT
from tests.mutations.table import MUTATIONS, Mutation
from tests.verify.made_up import CONVERTED, GOOD, MODEL, NOTHING, judged


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: f"{one.check}: {one.broken}")
def test_what_a_mutation_breaks_stands_there_once_and_stays_python(mutation: Mutation) -> None:
    compile(mutation.broken_text(ROOT), mutation.file, "exec")
    file, _, test = mutation.test.partition("::")
    assert f"def {test.partition('[')[0]}(" in (ROOT / "tests" / file).read_text("utf-8")


def test_code_that_is_no_longer_there_is_told(tmp_path: Path) -> None:
    place = tmp_path / "patcher" / MUTATIONS[0].file
    place.parent.mkdir(parents=True)
    for content in ("", MUTATIONS[0].old * 2):
        place.write_text(content)
        with pytest.raises(ValueError, match="times in patcher/verify"):
            MUTATIONS[0].broken_text(tmp_path)


def test_every_check_has_a_mutation() -> None:
    assert MODEL.soft_cap is not None
    dropped = (CodemodResult("drop_bos", "applied", "modeling.py"),)
    shifted = replace(CONVERTED, soft_cap=replace(MODEL.soft_cap, shift=1.0), codemods=dropped)
    encoder = EncoderFigures(version="6", base={}, patched={}, disagreements=0, pooling="SpladePooling")
    first = replace(GOOD, sparse_encoder=encoder)
    everything = judged(first, replace(first, agreement=Agreement(0.0, 1)), model=shifted)
    kept = SingleMeasured(
        **NOTHING, environment=GOOD.environment, positions=1, patched=None, sparse_encoder=EncoderLoaded("6", True, 0)
    )
    dense = replace(kept, sparse_encoder=EncoderLoaded("6", False, 0, "SentenceTransformer"))
    single = (
        *judge_single(kept),
        *judge_single(dense, (), (), "AutoModel"),
        judge_reference(kept, OriginalRun("4", 1)),
    )
    lowered = judge(GOOD, kept=True)
    names = {check.name for check in (*everything.all_checks, *single, *lowered)}
    others = {
        "card",
        "code of its own",
        "drop_bos",
        "evaluate",
        "export",
        "hashes remembered",
        "hints",
        "listed bytes",
        "lists",
        "loading repairs",
        "not finite",
        "numbers",
        "page",
        "paths",
        "publishing",
        "recommendation",
        "retrieval_preserved",
        "sandbox",
        "terminal",
        "three outcomes",
        "weights shared",
        "weights_fit_cap",
        "work",
    }
    assert {one.check for one in MUTATIONS} == names | others
    # A module that made checks of its own would have to be called above.
    makers = {path.name for path in (ROOT / "patcher/verify").rglob("*.py") if "Check(" in path.read_text("utf-8")}
    assert makers == {"checks.py", "tolerances.py"}
