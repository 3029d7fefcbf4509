"""`rsbench.check`: the gate for test suites; the module can also be called as the function."""

import sys
from pathlib import Path
from types import ModuleType

from rsbench.evaluation.gate import CheckResult, assert_passes
from rsbench.evaluation.gate import check as _check

__all__ = ["assert_passes"]


class _Callable(ModuleType):
    """A module that is also a function, as `import rsbench.check` takes the name `rb.check`."""

    def __call__(self, result: str | Path, against: str | Path) -> CheckResult:
        """Call :func:`rsbench.evaluation.gate.check`."""
        return _check(result, against)


sys.modules[__name__].__class__ = _Callable
