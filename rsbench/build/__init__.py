"""build room."""
