"""Reference models of super-resolution: resampling, with a gain and an offset per band or not."""

from rsbench import Card, PresetInfo
from rsbench_baselines._parity import FORMULA, PARITY

_KEYS = "R. G. Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 29 "
_KEYS += "(1981), doi 10.1109/TASSP.1981.1163711"


def _card(name: str, title: str, citation: str, parity: str, halo: int, *, fitted: bool) -> Card:
    return Card(
        name=name,
        task="superresolve",
        title=title,
        presets={"default": PresetInfo(parameters=0, trainable=0)},
        build=f"rsbench_baselines.superresolve_reference.model:{name}",
        citation=citation,
        licence="Apache-2.0",
        parity=parity,
        halo=halo,
        fitted=fitted,
    )


bicubic = _card(
    "bicubic", "Cubic convolution of the coarse image; needs sensors of one unit", _KEYS,
    PARITY["bicubic"], 0, fitted=False,
)  # fmt: skip
bicubic_fitted = _card(
    "bicubic_fitted", "Cubic convolution, with a gain and an offset per band from training", _KEYS,
    PARITY["bicubic"], 0, fitted=True,
)  # fmt: skip
nearest_fitted = _card(
    "nearest_fitted", "The coarse pixel, with a gain and an offset per band from training",
    "None: least squares", FORMULA, 0, fitted=True,
)  # fmt: skip
