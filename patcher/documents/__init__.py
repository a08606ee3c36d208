"""Writes what people read: the card, the page and its plots, from the plan and the report alone."""
