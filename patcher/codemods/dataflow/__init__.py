"""Follows values through the code of a model: names, reaching definitions, the path of the logits."""
