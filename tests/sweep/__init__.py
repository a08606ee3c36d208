"""The codemods over all model code that the installed packages bring, none of it written for this tool."""
