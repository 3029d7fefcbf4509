"""The registry: cards without torch, suggestions for unknown names, other packages."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoints
from pathlib import Path

import pytest
import torch

import rsbench
from rsbench.core import plugins
from rsbench.core.errors import InputError, UnknownName
from rsbench.metrics.registry import info as metric_of
from rsbench.models import registry
from rsbench.models.api import Card, Given, Prediction, PresetInfo, Want
from rsbench.models.contract_data import Shape, make_samples

SHIPPED = {"persistence", "climatology", "linear_trend", "damped_persistence", "simvp"}


def install(folder: Path, name: str, entry_points: dict[str, str], code: str) -> None:
    """Lay out an installed package as an installer does: a module and its metadata."""
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "\n".join(f"{key} = {value}" for key, value in entry_points.items())
    (info / "entry_points.txt").write_text(f"[rsbench.models]\n{lines}\n")


GOOD = """
from rsbench import Card, PresetInfo

card = Card("stranger", "forecast", "A stranger's model", {"default": PresetInfo(0, 0)},
            "stranger_package:build", "-", "MIT")


class Model:
    def __init__(self, bands):
        self.bands = bands

    def predict(self, given, want):
        raise NotImplementedError


def build(preset, *, bands=3):
    return Model(bands)
"""


def test_packages_are_read_once_until_one_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []

    def entry_points() -> EntryPoints:
        reads.append(1)
        return importlib.metadata.entry_points()

    monkeypatch.setattr(plugins, "entry_points", entry_points)
    monkeypatch.syspath_prepend(tmp_path)
    for _ in range(3):
        assert "stranger" not in registry.cards()
    assert len(reads) == 1
    install(tmp_path, "stranger_package", {"stranger": "stranger_package:card"}, GOOD)
    assert "stranger" in registry.cards()
    assert len(reads) == 2


def test_the_shipped_models_are_there() -> None:
    assert set(registry.cards()) >= SHIPPED
    assert registry.broken() == ()


def test_cards_load_no_torch() -> None:
    script = (
        "import json, sys\nfrom rsbench.models.registry import models_json\n"
        "rows = models_json()\n"
        "print(json.dumps([[r['name'] for r in rows], 'torch' in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    names, has_torch = json.loads(done.stdout)
    assert set(names) >= SHIPPED
    assert not has_torch


def test_models_json_is_json_and_says_what_it_must() -> None:
    rows = json.loads(json.dumps(registry.models_json()))
    assert [row["name"] for row in rows] == sorted(row["name"] for row in rows)
    for row in rows:
        assert {"name", "task", "presets", "citation", "licence", "published"} <= set(row)
        assert row["parity"].endswith(".")
        for info in row["presets"].values():
            assert info["parameters"] == info["trainable"] + info["frozen"]


PRINTED = ("mcvd", "predrnn", "rddm", "sa_stf", "sat_jepa_diff", "sd35", "simvp", "stfmamba")


def test_models_that_papers_print_say_so() -> None:
    assert {c.name for c in registry.cards().values() if c.published} >= set(PRINTED)


@pytest.mark.parametrize("name", [c.name for c in registry.cards().values() if c.published])
def test_published_numbers_name_a_preset_a_metric_and_a_source(name: str) -> None:
    entry = registry.card(name)
    cells = registry.card_json(entry)["published"]
    assert cells
    for cell in cells:
        assert cell["preset"] in entry.presets
        named = cell["metric"] or cell["nearest"]
        assert metric_of(named) if named else cell["why_not_comparable"]
        assert cell["source"]


def test_published_numbers_are_those_of_the_table() -> None:
    cells = registry.card_json(registry.card("simvp"))["published"]
    kitti = {c["column"]: (c["metric"], c["value"]) for c in cells if c["preset"] == "kitti"}
    assert kitti["MSE"] == ("mse.openstl@1", 129.7)
    assert kitti["LPIPS"] == (None, 0.0574)
    paper = {c["column"]: c for c in cells if c["preset"] == "paper"}
    assert paper["L1"]["metric"] is None  # no public script scored that row
    assert paper["L1"]["nearest"] == "mae.clip@1"
    assert "not the same" in paper["L1"]["why_not_comparable"]
    assert "why_not_comparable" not in next(c for c in cells if c["preset"] == "kitti")


def test_a_printed_row_that_no_table_has_is_refused() -> None:
    odd = replace(
        registry.card("simvp"),
        published=(("paper", "sat-jepa-diff", "SimVP v3"),),
    )
    with pytest.raises(InputError, match=r"the card of simvp: .* Did you mean SimVP v2"):
        registry.card_json(odd)
    away = replace(odd, published=(("paper", "Table 2", "SimVP v2"),))
    with pytest.raises(InputError, match="the card of simvp"):
        registry.card_json(away)
    own = {"preset": "paper", "table": "Table 2", "mse": 0.1}
    assert registry.card_json(replace(odd, published=(own,)))["published"] == [own]


@pytest.mark.parametrize(
    ("name", "preset"), [(c.name, p) for c in registry.cards().values() for p in c.presets]
)
def test_the_parameters_of_every_preset_are_those_of_its_card(name: str, preset: str) -> None:
    with torch.device("meta"):
        model = rsbench.create_model(name, preset)
    info = registry.card(name).presets[preset]
    module = getattr(model, "module", None)  # also of networks that are not trained
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()] if module else []
    assert sum(n for n, _ in sizes) == info.parameters
    assert sum(n for n, free in sizes if free) == info.trainable


def test_unknown_names_are_met_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean simvp"):
        rsbench.create_model("simvpp")
    with pytest.raises(UnknownName, match="Did you mean tiny"):
        rsbench.create_model("simvp", preset="tinny")
    with pytest.raises(UnknownName, match="option of model persistence"):
        rsbench.create_model("persistence", depth=3)
    with pytest.raises(InputError, match="hid_Z"):
        rsbench.create_model("simvp", preset="tiny", hid_Z=3)


def test_a_wrong_size_is_an_error_of_the_input_and_not_of_the_program() -> None:
    with pytest.raises(InputError, match="at least two blocks"):
        rsbench.create_model("simvp", preset="tiny", N_T=1)
    with pytest.raises(InputError, match="gsta or incepu"):
        rsbench.create_model("simvp", preset="tiny", model_type="gst")


def test_facts_of_the_dataset_reach_the_builders_that_take_them() -> None:
    rsbench.create_model("persistence", bands=4, context=3)
    model = rsbench.create_model("simvp", preset="tiny", bands=5, context=2)
    assert registry.identity(model).options == {"bands": 5, "context": 2}
    assert registry.identity(model).preset == "tiny"
    assert registry.identity(model).card.multiple_of == 2


def test_a_card_reads_as_its_preset_says() -> None:
    card = registry.card("simvp")
    assert card.of("mmnist").rollout == "block:10"
    assert card.of("mmnist").min_context == 10
    assert card.of("tiny").rollout == card.rollout == "step"
    assert card.of().of() == card.of()


def test_a_strangers_package_enters_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "stranger_package", {"stranger": "stranger_package:card"}, GOOD)
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.card("stranger").title == "A stranger's model"
    model = rsbench.create_model("stranger", bands=7, context=2)
    assert registry.identity(model).options == {"bands": 7}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('no licence')", "raises RuntimeError: no licence"),
        ("import no_such_library", "raises ModuleNotFoundError"),
        ("card = 3", "is a int without the fields of a rsbench.Card"),
        (GOOD.replace('"stranger",', '"other",'), "its card is named 'other'"),
        (GOOD.replace('{"default"', '{"tiny"'), "default preset 'default' is not among"),
        ("nothing = 1", "raises AttributeError"),
    ],
)
def test_a_broken_package_is_reported_and_harms_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    module = f"broken_{abs(hash(code)) % 10**8}"
    install(tmp_path, module, {"stranger": f"{module}:card"}, code)
    monkeypatch.syspath_prepend(tmp_path)
    assert set(registry.cards()) >= SHIPPED
    assert "stranger" not in registry.cards()
    (fault,) = registry.broken()
    assert fault.distribution == module
    assert reason in str(fault)
    with pytest.raises(InputError, match="Repair or uninstall"):
        registry.card("stranger")


def test_no_package_takes_over_a_name_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = GOOD.replace('"stranger",', '"persistence",')
    install(tmp_path, "a_thief", {"persistence": "a_thief:card"}, code)
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.card("persistence").build.startswith("rsbench_baselines.")
    assert "taken by another package" in str(registry.broken()[0])


class _Own:
    def predict(self, given: Given, want: Want) -> Prediction:
        raise NotImplementedError


def test_a_model_built_by_hand_has_no_card_until_it_is_given_one() -> None:
    card = Card("own", "forecast", "Own", {"default": PresetInfo(0, 0)}, "x:y", "-", "-")
    model = _Own()
    with pytest.raises(InputError, match=r"registry\.adopt"):
        registry.identity(model)
    registry.adopt(model, card)
    assert registry.identity(model).name == "own"
    with registry.extra(card):
        assert registry.card("own") == card
    assert "own" not in registry.cards()


def test_identities_go_with_their_models() -> None:
    card = Card("own", "forecast", "Own", {"default": PresetInfo(0, 0)}, "x:y", "-", "-")
    before = len(registry._IDENTITIES)
    models = [_Own() for _ in range(5)]
    for model in models:
        registry.adopt(model, card)
    assert len(registry._IDENTITIES) == before + 5
    del models, model
    assert len(registry._IDENTITIES) == before


def test_a_missing_torch_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def builder(self: Card) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(Card, "builder", builder)
    with pytest.raises(InputError, match=r"rsbench\[models\]"):
        rsbench.create_model("simvp")


def test_frames_on_another_device_and_cut() -> None:
    frames = make_samples(Shape(1, 3, 1, 2, 8)).given.frames["contract"]
    assert frames.last(None) is frames
    assert frames.last(9) is frames
    assert frames.last(2).values.shape[2] == len(frames.last(2).predicted) == 2
    moved = frames.to("meta")
    assert {moved.values.device.type, moved.valid.device.type, moved.times.device.type} == {"meta"}
    copy = replace(frames).clone()
    copy.values.zero_()
    assert frames.values.abs().sum() > 0
