"""Errors, digests, grids, dates, paths and progress: what every package uses."""
