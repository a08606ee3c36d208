"""Rewrite a model's remote code as a syntax tree, prove the change by running it, and publish the result."""

__version__ = "0.1.0"
