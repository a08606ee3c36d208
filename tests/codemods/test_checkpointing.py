"""Reentrant checkpoint calls become non-reentrant, and no other call changes."""

from __future__ import annotations

from patcher.codemods import NotNeeded
from tests.codemods.tools import check, run


def test_a_checkpoint_that_is_not_reentrant_needs_nothing() -> None:
    assert isinstance(run("checkpointing", "checkpoint(f, x, use_reentrant=False)\n"), NotNeeded)
    assert isinstance(run("checkpointing", "other(f, x, use_reentrant=True)\n"), NotNeeded)


def test_checkpointing_becomes_non_reentrant() -> None:
    check(
        "checkpointing",
        "y = torch.utils.checkpoint.checkpoint(f, x, use_reentrant=True)\n",
        "y = torch.utils.checkpoint.checkpoint(f, x, use_reentrant=False)\n",
    )
