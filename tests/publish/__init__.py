"""Tests of publishing: the real command and the real client against a local Hub."""
