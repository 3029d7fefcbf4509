"""Reference models of segmentation: class shares, and discriminants of pixels and windows."""

from rsbench import Card, PresetInfo
from rsbench_baselines._parity import FORMULA, PARITY


def _card(name: str, title: str, citation: str, parity: str, halo: int = 0) -> Card:
    return Card(
        name=name,
        task="segment",
        title=title,
        presets={"default": PresetInfo(parameters=0, trainable=0)},
        build=f"rsbench_baselines.segment_reference.model:{name}",
        citation=citation,
        licence="Apache-2.0",
        parity=parity,
        halo=halo,
        fitted=True,
    )


_LDA = "R. A. Fisher, The use of multiple measurements in taxonomic problems, Annals of Eugenics 7 "
_LDA += "(1936), doi 10.1111/j.1469-1809.1936.tb02137.x"

majority = _card(
    "majority", "The shares of the classes in the training split", "None: a count", FORMULA
)
pixel_lda = _card(
    "pixel_lda", "Linear discriminant analysis of a pixel's bands", _LDA, PARITY["pixel_lda"]
)
window_lda = _card(
    "window_lda", "Linear discriminant analysis of bands, and mean and deviation in 5×5 pixels",
    _LDA, PARITY["window_lda"], halo=2,
)  # fmt: skip
