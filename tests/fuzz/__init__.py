"""Damaged inputs of every file format and command, and what the readers make of them."""
