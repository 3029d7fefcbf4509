"""Columns that identify a value when two tables are compared."""

ROW = ("model", "preset", "inputs", "metric", "band", "lead", "stratum")
"""Columns that identify a value within tables of one dataset, split and protocol."""

Key = tuple[str, str, str, str, str, int, str]
"""Values of ``ROW``."""
