"""The pages for users: their blocks of code run, and what they show is what the commands print."""
