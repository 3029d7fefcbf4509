"""`rsbench models NAME`: the options that `--option` takes, with types and defaults."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from rsbench.cli import lists
from rsbench.core.errors import UnknownName, unknown
from rsbench.models.registry import FACTS, cards, create_model, model_options, parse_option

CARDS = cards()
OPEN = {"rddm": "tiny", "simvp": "tiny", "swinstfm": "tiny", "predrnn": "tiny_v2", "ddpm": "tiny",
        "mcvd": "tiny", "starfm": "default", "cross_scale": "tiny_ijepa_sa"}  # fmt: skip


@pytest.mark.parametrize("name", CARDS)
def test_every_option_of_every_preset_has_a_type(name: str) -> None:
    entry = CARDS[name]
    for preset in entry.presets:
        for option in model_options(entry, preset):
            idle = entry.presets[preset].options.get("stages") == "random"
            assert option.kind or idle, (preset, option.name)


@pytest.mark.parametrize("name", OPEN)
def test_the_stated_values_are_those_of_the_model(name: str) -> None:
    """Given as options, they build the model that is built without options, and print as typed."""
    entry, preset = CARDS[name], OPEN[name]
    given: dict[str, Any] = {}
    for option in model_options(entry, preset):
        if option.default is None or option.name in (*FACTS, "probe_steps"):  # the head has none
            continue
        key, value = parse_option(f"{option.name}={lists._value(option.default)}")
        listed = isinstance(option.default, tuple | list)
        assert value == (tuple(option.default) if listed else option.default)
        given[key] = value
    plain, stated = create_model(name, preset), create_model(name, preset, **given)
    if hasattr(plain, "stages"):
        assert list(plain.stages()) == list(stated.stages())  # type: ignore[attr-defined]
        sizes = [{n: t.shape for n, t in m.module.state_dict().items()} for m in (plain, stated)]  # type: ignore[attr-defined]
        assert sizes[0] == sizes[1]
    else:
        assert plain == stated


def test_a_model_is_printed_with_the_values_of_a_preset(capsys: pytest.CaptureFixture[str]) -> None:
    lists.models("simvp", "tiny")
    text = capsys.readouterr().out
    assert "options of preset tiny, as --option NAME=VALUE:" in text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line[:2] == "  "}
    assert rows["hid_S"] == ["int", "16"]
    assert rows["learning_rate"] == ["float", "0.004"]
    assert rows["bands"] == ["int", "as", "the", "dataset", "has"]
    lists.models("simvp", "tiny", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert {"name": "model_type", "kind": "text", "default": "gsta"} in found["options"]
    with pytest.raises(UnknownName, match="Did you mean tiny"):
        lists.models("simvp", "tinny")


def test_a_builder_without_values_has_those_of_its_signature() -> None:
    found = {o.name: o for o in model_options(CARDS["sat_jepa_diff"], "tiny")}
    assert found["steps"].kind == "list of int"
    assert (found["weights"].kind, found["weights"].default) == ("text", None)
    assert inspect.signature(CARDS["simvp"].builder()).parameters["hid_S"].default is None


def test_names_are_listed_completely_where_none_is_similar() -> None:
    names = [f"name{i:02}" for i in range(40)]
    assert str(unknown("thing", "qqq", names)).endswith(f"Known: {', '.join(names)}")
