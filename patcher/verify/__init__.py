"""Proves a patched folder right by running it; everything that imports torch stays in a child process."""
