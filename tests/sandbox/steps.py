"""A child for the tests of `child.py`: its answer says in what order its steps were taken."""

from __future__ import annotations

from pathlib import Path

from patcher.sandbox.child import Service

STEPS = ["imported"]


def enter(request: dict[str, str], scratch: Path) -> None:
    STEPS.append(f"entered {scratch.name} for {request['name']}")


def answer(request: dict[str, str]) -> tuple[str, ...]:
    if request["name"] == "crash":
        raise ValueError("no answer")
    return (*STEPS, f"answered {request['name']}")


SERVICE = Service(dict[str, str], enter, answer)
