"""Signers by name: ours, a third party's, and tokens that stay out of every message."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from build_fixtures import random_folder, recipe
from support.stac_server import Fault, Request, serve
from third_party import install

from rsbench.build.engine.builder import build
from rsbench.build.plan.plan import make_plan
from rsbench.build.read.engines import make_engine
from rsbench.build.read.signing import SIGNERS, SigningError, signer
from rsbench.catalog import Recipe, load_sensor
from rsbench.core.errors import UnitFailed, UnknownName

SECRET = "sig=TOPSECRET"
GROUP = "rsbench.signers"
CODE = """
def works(url, attempt):
    return f"{url}?sig=TOPSECRET&attempt={attempt}"

def moves(url, attempt):
    return "http://TOPSECRET@127.0.0.1/x.tif"

def raises(url, attempt):
    raise RuntimeError(f"no answer from {url}?sig=TOPSECRET")
"""
URL = "https://acct.example.org/container/x.tif"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("works", "moves", "raises")
    install(
        tmp_path / "packages", "signers", GROUP, {f"my-{n}": f"signers:{n}" for n in names}, CODE
    )
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))


def test_our_signers_are_registered_and_the_catalogue_names_no_other() -> None:
    assert {"none", "planetary-computer"} <= set(SIGNERS.names())
    for name in ("s2", "landsat", "naip", "mod09a1", "mcd43a4"):
        for provider in load_sensor(name).providers.values():
            assert provider.signing in SIGNERS.names()
    assert signer("none")(URL, 0) == URL


def test_an_unknown_signer_is_told_with_the_nearest() -> None:
    for engine in ("rasterio", "stackstac"):
        with pytest.raises(UnknownName, match="Did you mean planetary-computer"):
            make_engine(engine, "http://127.0.0.1:9", "planetary-computr")


def test_an_unknown_signer_stops_the_plan_before_the_search(tmp_path: Path) -> None:
    sensor = load_sensor("s2")
    provider = sensor.provider("planetary-computer").model_copy(update={"signing": "nobodys"})
    changed = {**sensor.providers, "planetary-computer": provider}
    own = recipe(sensors=(sensor.model_copy(update={"providers": changed}),))
    with pytest.raises(UnknownName, match="way to sign 'nobodys'"):
        make_plan(own, provider="http://127.0.0.1:9")


@pytest.mark.usefixtures("package")
def test_signed_addresses_differ_by_their_query_only() -> None:
    assert signer("my-works")(URL, 1) == f"{URL}?{SECRET}&attempt=1"
    for name, says in (("my-moves", "another address"), ("my-raises", "raised RuntimeError")):
        with pytest.raises(SigningError, match=says) as caught:
            signer(name)(URL, 0)
        shown = "".join(traceback.format_exception(caught.value))
        assert "TOPSECRET" not in shown
        assert f"{URL} cannot be signed by {name}" in shown
        assert caught.value.__context__ is None


@pytest.mark.usefixtures("package")
def test_a_build_reads_with_a_third_partys_signer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sensor's provider names the signer; what it adds is asked for, and is kept nowhere."""
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    root = random_folder(tmp_path / "stac", per_year=1)
    sensor = load_sensor("s2")
    asked: list[dict[str, str]] = []

    def watch(request: Request) -> Fault | None:
        if request.path.endswith(".tif"):
            asked.append(dict(request.query))
        return None

    def own(signing: str) -> Recipe:
        provider = sensor.provider("planetary-computer").model_copy(update={"signing": signing})
        changed = {**sensor.providers, "planetary-computer": provider}
        return recipe(sensors=(sensor.model_copy(update={"providers": changed}),))

    with serve(root, fault=watch) as url:
        lock = make_plan(own("my-works"), provider=url)
        made = build(own("my-works"), tmp_path / "out", lock=lock)
        with pytest.raises(UnitFailed) as caught:
            build(own("my-raises"), tmp_path / "no", lock=lock)
    assert made.complete
    assert asked
    assert all(query["sig"] == "TOPSECRET" for query in asked)
    assert "TOPSECRET" not in "".join(traceback.format_exception(caught.value))
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or b"TOPSECRET" not in path.read_bytes(), path
