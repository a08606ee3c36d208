"""Makes `_tied_weights_keys = [...]` a value that transformers 5 accepts, without starting to tie anything.

transformers 4 expected a list of names there, transformers 5 a mapping from target to source, by which it ties; a list
makes `save_pretrained` fail. In this family the list never tied anything on loading, because `get_output_embeddings`
returns a parameter and not a module, so None keeps the behaviour.
"""

from __future__ import annotations

import libcst as cst

from patcher.codemods.code import Code
from patcher.codemods.nodes import is_name
from patcher.codemods.outcomes import Outcome
from patcher.codemods.rewrite import Replacement, replaced

_NAME = "_tied_weights_keys"


def tied_weights(code: Code) -> Outcome:
    """Replace each list of tied names in a class body by None."""
    lines = [item for node in code.class_nodes(_NAME) for item in node.body.body]
    statements = (item for line in lines if isinstance(line, cst.SimpleStatementLine) for item in line.body)
    values = filter(None, map(_listed, statements))
    replacements: dict[cst.CSTNode, Replacement] = {value: lambda _: cst.Name("None") for value in values}
    return replaced(code, replacements, "no class of this file lists tied weights")


def _listed(statement: cst.CSTNode) -> cst.BaseExpression | None:
    """The list that a statement binds the name to; None for any other statement."""
    targets = [one.target for one in statement.targets] if isinstance(statement, cst.Assign) else []
    if isinstance(statement, cst.AnnAssign):
        targets = [statement.target]
    value = getattr(statement, "value", None) if len(targets) == 1 and is_name(targets[0], _NAME) else None
    return value if isinstance(value, (cst.List, cst.Tuple, cst.Set)) else None
