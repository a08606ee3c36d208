"""The child process of a verification; the only part of verify/ that imports torch."""
