"""The paths of the logits, from what forward returns back to their origins, and the limits of the walk."""

from __future__ import annotations

from textwrap import indent

import pytest

from patcher.codemods.dataflow.flow import Flow
from patcher.codemods.dataflow.steps import CallEntry, CallExit, Merge, Passthrough, Step
from tests.codemods.dataflow.functions import frame_of

TOP = "import torch\nfrom torch import nn\ndef half(t):\n    return t / 2\n"


def flow_of(*lines: str) -> Flow:
    """The flow of a function of `x` with these lines."""
    return Flow(frame_of(TOP + "def f(x, a):\n" + indent("\n".join(lines), "    ") + "\n"))


def steps_of(*lines: str) -> list[list[tuple[str, float | None]]]:
    """What happens on each path, from the logits backwards, with its number."""
    return [
        [(item.what, item.number.value if item.number else None) for item in path if isinstance(item, Step)]
        for path in flow_of(*lines).paths
    ]


@pytest.mark.parametrize(
    ("lines", "steps"),
    [
        (["return 30 * torch.sigmoid(x / 7.5)"], [("mul", 30), ("sigmoid", None), ("div", 7.5)]),
        (["x /= 2", "x = -x", "return x"], [("mul", -1), ("div", 2)]),
        (["return 1 - x.tanh()"], [("rsub", 1), ("tanh", None)]),
        (["return x.sub(1)"], [("sub", 1)]),
        (["return half(x) * a"], [("mul", None), ("div", 2)]),
        (["return (loss, x * 2)"], [("mul", 2)]),
        (["return MaskedLMOutput(x, x * 2)"], [("mul", 2)]),
        (["return {'loss': x, 'logits': x * 2}"], [("mul", 2)]),
        (["out.logits = x * 2", "return out"], [("mul", 2)]),
        (["return torch.mul(x, 2, out=a)"], []),
    ],
)
def test_the_steps_of_the_logits_from_the_last_to_the_first(lines: list[str], steps: list[tuple[str, float]]) -> None:
    assert steps in steps_of(*lines)


def test_each_branch_is_a_path() -> None:
    assert steps_of("if a:", "    return x * 2", "return x") == [[("mul", 2)], []]
    assert steps_of("return x * 2 if a else x * 3") == [[("mul", 2)], [("mul", 3)]]


def test_a_call_of_the_package_is_entered_and_left() -> None:
    (path,) = flow_of("return half(x)").paths
    assert [type(item) for item in path if isinstance(item, (CallEntry, CallExit))] == [CallEntry, CallExit]


def test_a_cast_passes_and_a_concatenation_merges() -> None:
    path = flow_of("return torch.cat([x.float(), a])").paths[0]
    assert [type(item) for item in path] == [Merge, Passthrough]


def test_a_layer_of_a_container_is_a_step_that_cannot_be_removed() -> None:
    (path,) = flow_of("head = nn.Sequential(nn.Identity(), nn.Sigmoid())", "return head(x)").paths
    (step,) = [item for item in path if isinstance(item, Step)]
    assert step.is_bounded and step.extract is None


def test_a_loop_is_gone_through_twice_and_no_more() -> None:
    assert [("mul", 2), ("mul", 2)] in steps_of("for i in a:", "    x = x * 2", "return x")
    assert not flow_of("for i in a:", "    x = x * 2", "return x").unfinished


def test_a_function_that_calls_itself_ends_the_path() -> None:
    flow = Flow(frame_of("def f(x):\n    return f(x) * 2\n"))
    assert len(flow.frames) == 2 and not flow.unfinished


def test_more_paths_than_the_limit_leave_the_flow_unfinished() -> None:
    lines = [line for n in range(9) for line in (f"if a > {n}:", f"    x = x * {n + 2}")]
    assert flow_of(*lines, "return x").unfinished


@pytest.mark.parametrize(
    ("lines", "kinds"),
    [
        (["return x @ a"], ["projection"]),
        (["return nn.Linear(2, 3)(x)"], ["projection"]),
        (["return x"], ["input"]),
        (["return x.mean() * undefined(x)"], ["statistic", "unbound"]),
        (["return torch.cat([torch.zeros(1), x])"], ["constant", "input"]),
        (["return [part * 2 for part in x.split(2)]"], ["input"]),
        (["for part in x.chunk(2):", "    y = part", "return y * 2"], ["input", "unbound"]),
        (["return x.clamp(min=0)"], ["unknown"]),
        (["return x.to(torch.int8)"], ["unknown"]),
        (["kind = torch.uint8", "return x.to(kind)"], ["unknown"]),
    ],
)
def test_each_path_has_an_end_of_a_kind(lines: list[str], kinds: list[str]) -> None:
    flow = flow_of(*lines)
    assert [end.kind for end in flow.ends] == kinds and bool(flow.unknown) == ("unknown" in kinds)


@pytest.mark.parametrize(
    "line",
    ["return MaskedLMOutput(**x)", "return {**x}", "x, y = half(a); return x", "return (*x, a)", "return (loss,)"],
)
def test_an_output_whose_logits_are_not_found_is_unknown(line: str) -> None:
    assert flow_of(line).unknown
