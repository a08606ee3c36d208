"""Where a model comes from: a repository on the Hub at one commit, the local Hub cache, or a folder."""
