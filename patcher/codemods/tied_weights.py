"""Makes `_tied_weights_keys = [...]` a value that transformers 5 accepts, without starting to tie anything.

transformers 4 read a list of names there, transformers 5 reads a mapping from target to source and ties by it; a list
makes `save_pretrained` fail. In this family the list never tied anything on loading, because `get_output_embeddings`
answers with a parameter and not with a module, so the value that keeps the behaviour is None.
"""

from __future__ import annotations

from typing import cast

import libcst as cst
import libcst.matchers as m

from patcher.codemods.base import Applied, Code, NotNeeded, Outcome, Replacement, Span, rewrite

_NAME = m.Name("_tied_weights_keys")
_VALUE = m.List() | m.Tuple() | m.Set()
_LISTED = m.Assign(targets=[m.AssignTarget(target=_NAME)], value=_VALUE) | m.AnnAssign(target=_NAME, value=_VALUE)


def tied_weights(code: Code) -> Outcome:
    """Replace each list of tied names in a class body by None."""
    replacements: dict[cst.CSTNode, Replacement] = {}
    spans: list[Span] = []
    for node in code.classes().values():
        for item in node.body.body:
            statements = item.body if isinstance(item, cst.SimpleStatementLine) else ()
            for statement in statements:
                if not m.matches(statement, _LISTED):
                    continue
                value = cast(cst.Assign | cst.AnnAssign, statement).value
                assert value is not None
                replacements[value] = lambda _: cst.Name("None")
                spans.append(code.span(statement))
    if not spans:
        return NotNeeded("no class of this file lists tied weights")
    return Applied(rewrite(code, replacements), tuple(spans))
