"""From a model to a search: encodes texts in a sandboxed child process, writes them for an index, and searches them."""
