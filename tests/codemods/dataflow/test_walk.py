"""The walk follows its steps depth first and in their order, without recursion, and stops at its limits."""

from __future__ import annotations

import libcst as cst

from patcher.codemods.dataflow.steps import Position
from patcher.codemods.dataflow.walk import Walk
from tests.codemods.dataflow.functions import frame_of

FRAME = frame_of("def f(x):\n    return x\n")


def test_what_a_step_names_is_followed_before_its_siblings() -> None:
    walk, seen = Walk(FRAME), list[str]()

    def step(name: str) -> None:
        seen.append(name)
        for child in ("a", "b") if len(name) < 3 else ():
            walk.follow(step, name + child)

    walk.follow(step, "x")
    walk.run()
    assert seen == ["x", "xa", "xaa", "xab", "xb", "xba", "xbb"]


def test_a_path_of_many_steps_needs_no_stack() -> None:
    walk, left = Walk(FRAME), [50_000]

    def step() -> None:
        left[0] -= 1
        if left[0]:
            walk.follow(step)

    walk.follow(step)
    walk.run()
    assert left == [0]


def test_a_node_is_visited_once_in_the_same_state_and_so_often_in_all() -> None:
    walk, here = Walk(FRAME), Position(FRAME.function, FRAME)
    nodes = [cst.Name("x") for _ in range(4001)]
    assert walk.visit(nodes[0], here, 1) and not walk.visit(nodes[0], here, 1) and walk.visit(nodes[0], here, 2)
    assert [walk.visit(node, here, 1) for node in nodes[1:]].count(True) == 3998 and walk.unfinished


def test_an_end_that_is_unknown_is_remembered_and_one_of_a_divisor_is_no_path() -> None:
    walk, node = Walk(FRAME), cst.Name("x")
    walk.end(Position(FRAME.function, FRAME), node)
    walk.end(Position(FRAME.function, FRAME, is_divisor=True), node, "constant")
    walk.run()
    assert walk.unknown == [(FRAME, node)] and [end.kind for end in walk.ends] == ["unknown"]
    assert [end.kind for end in walk.divisors] == ["constant"] and len(walk.paths) == 1
