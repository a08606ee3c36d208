"""Starts, confines, watches and ends a child process; knows nothing of models."""
