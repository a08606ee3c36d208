"""Joins the steps, for one model and for a list of models."""
