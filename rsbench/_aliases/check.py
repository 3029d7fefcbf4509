"""`rsbench.check`: the public name of the gate for test suites."""

from rsbench.evaluation.gate import assert_passes

__all__ = ["assert_passes"]
