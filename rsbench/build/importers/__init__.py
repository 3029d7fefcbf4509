"""Import a user's own files and published datasets."""
