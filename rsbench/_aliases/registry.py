"""`rsbench.registry`: the public name of the model registry."""

from rsbench.models.registry import adopt

__all__ = ["adopt"]
