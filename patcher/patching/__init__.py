"""Writes the patched folder, complete or absent, with the record of where every file came from."""
