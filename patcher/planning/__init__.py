"""Decides what would change in a model: its code, its files, and the codemods that apply. Runs no model code."""
