"""Pairs of a photograph and a satellite image of nearly the same day."""
