"""`build-dataset` at catalogues that answer with no STAC, or never: one sentence, exit code 2."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from build_fixtures import random_folder, recipe
from support.script_server import Handler, landing, scripted
from support.shell import rsbench


def build(place: Path, provider: str, **limits: str) -> subprocess.CompletedProcess[str]:
    own = place / "own.yaml"
    own.write_text(json.dumps(recipe().model_dump(mode="json", exclude_defaults=True)))
    command = ("build-dataset", "--recipe", str(own), "--provider", provider, "--out", "o", "--yes")
    return rsbench(place, *command, **limits)


def slow(request: Handler) -> None:
    time.sleep(20)


def hour(request: Handler) -> None:
    if request.path.startswith("/search"):
        request.send(b"", 503, Retry_After="3600")
    else:
        request.send_json(landing(f"http://{request.headers['Host']}"))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda request: request.send(b"null"), "it is no JSON object"),
        (slow, "RSBENCH_REQUEST_SECONDS=4"),
        (hour, "it asks to wait 3600 s"),
    ],
)
def test_an_odd_server_ends_in_one_sentence(answer: Any, said: str, tmp_path: Path) -> None:
    with scripted(answer) as (url, _):
        done = build(tmp_path, url, RSBENCH_REQUEST_SECONDS="2")
    assert done.returncode == 2, done.stderr
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_malformed_item_ends_in_one_sentence(tmp_path: Path) -> None:
    root = random_folder(tmp_path / "stac")
    path = sorted(root.rglob("item.json"))[0]
    item = json.loads(path.read_text())
    item["properties"]["eo:cloud_cover"] = float("nan")
    path.write_text(json.dumps(item))
    done = build(tmp_path, str(root))
    said = " ".join(done.stderr.split())
    assert done.returncode == 2, done.stderr
    assert f"{item['id']}': properties.eo:cloud_cover is nan" in said
    assert f"--exclude {item['id']}" in said
