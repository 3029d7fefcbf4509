"""Definitions of the metrics of this package, one module per kind; none imports torch."""
