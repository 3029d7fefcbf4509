"""Tables of sums and weights: their columns and checks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from rsbench.core.errors import InputError
from rsbench.evaluation import strata

KEYS = [
    "model", "preset", "role", "region", "start", "lead", "target", "curve", "metric", "band",
]  # fmt: skip
SUMS = ["value_sum", "weight", "n_images", "n_missing"]
PIXEL_KEYS = [*KEYS, strata.PIXEL_CLASS]
PIXEL_COLUMNS = [*PIXEL_KEYS, *SUMS]
ROLES = ("model", "trivial", "oracle", "floor", "control")
CURVES = ("starts", "targets", "both", "none")
RANKED_ROLES = ("model", "trivial")
"""Roles that are compared with one another; ``trivial`` is that of reference models."""


def checked(units: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return units with all columns, plain types and one row per unit; refuse invalid ones."""
    lacking = [name for name in keys + SUMS if name not in units.columns]
    if lacking:
        raise InputError(
            "reading scores",
            f"the units lack the columns {', '.join(lacking)}",
            "Write them with `rsbench run` or `rsbench score`",
        )
    added = [name for name in strata.ADDED if name in units.columns]
    keys = [*keys, *added]
    others = [name for name in units.columns if name not in keys + SUMS]
    frame = units[keys + SUMS + others].copy()
    for name in ("preset", *added):
        frame[name] = frame[name].fillna("")
    for name in ("start", "target"):
        frame[name] = frame[name].astype(str)
    _refuse_bad(frame)
    codes = frame[keys].astype(dict.fromkeys({*keys} - {"lead"}, "category"))
    if codes.duplicated().any():
        how: dict[str, str] = {**dict.fromkeys(SUMS, "sum"), **dict.fromkeys(others, "first")}
        if strata.INPUT_VALID in how:
            how[strata.INPUT_VALID] = "sum"
        frame = frame.groupby(keys, sort=False, dropna=False).agg(how).reset_index()
        return frame.sort_values(keys, kind="stable", ignore_index=True)
    return frame.loc[codes.sort_values(keys, kind="stable").index].reset_index(drop=True)


def _refuse_bad(frame: pd.DataFrame) -> None:
    bad = frame[(frame["weight"] > 0) & ~np.isfinite(frame["value_sum"].astype(float))]
    if len(bad):
        row = bad.iloc[0]
        raise InputError(
            f"scores of {row['model']}",
            f"{row['metric']} is not finite in region {row['region']}, lead {row['lead']}, "
            f"band {row['band']}",
            "Mask the pixels, or leave the image out and count it in n_missing",
        )
    for name, allowed in (("role", ROLES), ("curve", CURVES)):
        odd = sorted(set(frame[name].astype(str)) - set(allowed))
        if odd:
            raise InputError("reading scores", f"{name} {odd[0]!r}", f"Use {', '.join(allowed)}")
    if ((frame["lead"] < 1) | (frame["weight"] < 0)).any():
        raise InputError("reading scores", "a lead below 1 or a weight below 0", "Score it again")


def stack(*parts: pd.DataFrame) -> pd.DataFrame:
    """Concatenate non-empty parts; null columns of empty parts would change the types."""
    full = [part for part in parts if len(part)]
    return pd.concat(full, ignore_index=True) if full else parts[0]
