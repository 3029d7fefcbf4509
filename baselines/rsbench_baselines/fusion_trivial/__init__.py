"""Reference models of fusion: copies and means of the references and the coarse images."""

from rsbench import Card, PresetInfo
from rsbench_baselines._parity import FORMULA

_CITATION = "Zhu et al. 2022, doi 10.1016/j.rse.2022.113002 (accuracy of fused images, against "
_CITATION += "the reference images themselves)"


def _card(name: str, title: str, references: int) -> Card:
    return Card(
        name=name,
        task="fusion",
        title=title,
        presets={"default": PresetInfo(parameters=0, trainable=0)},
        build=f"rsbench_baselines.fusion_trivial.model:{name}",
        citation=_CITATION,
        licence="Apache-2.0",
        parity=FORMULA,
        min_context=references,
    )


copy_f0 = _card("copy_f0", "The first fine reference, unchanged", 1)
copy_f2 = _card("copy_f2", "The second fine reference, unchanged", 2)
mean_refs = _card("mean_refs", "Mean of both fine references", 2)
interpolate_refs = _card(
    "interpolate_refs", "Both fine references, linearly interpolated to the target date", 2
)
add_change = _card("add_change", "First fine reference plus the coarse change: F0 + C1 − C0", 1)
copy_c1 = _card("copy_c1", "The coarse image of the target date on the fine grid", 1)
