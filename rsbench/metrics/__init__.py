"""Metrics, each under an id with a version."""
