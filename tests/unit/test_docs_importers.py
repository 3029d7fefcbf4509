"""What docs/importers.md shows runs as it stands there, installed as a package."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from third_party import install, rsbench

from rsbench.build.read.signing import SigningError, signer
from rsbench.store.read import open_store

PAGE = Path(__file__).parents[2] / "docs" / "importers.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="not run from a checkout")
SHOWN = re.compile(
    r"^`(\w+)\.py`:\n\n<!-- run by [\w/.]+ -->\n```python\n(.*?)```\n\n`pyproject\.toml`:\n\n"
    r"```toml\n\[project\.entry-points\.\"([\w.]+)\"\]\n([\w-]+) = \"([\w:.]+)\"\n```$",
    re.DOTALL | re.MULTILINE,
)


def installed(folder: Path, group: str) -> None:
    """Install the example of an entry-point group."""
    found = {of: (module, code, {key: value}) for module, code, of, key, value in examples()}
    module, code, points = found[group]
    install(folder, module, group, points, code)


def examples() -> list[tuple[str, ...]]:
    return SHOWN.findall(PAGE.read_text(encoding="utf-8"))


def test_there_are_two_examples_of_at_most_thirty_lines() -> None:
    lines = [len([x for x in code.splitlines() if x.strip()]) for _, code, *_ in examples()]
    assert len(lines) == 2
    assert max(lines) <= 30


def test_the_importer_makes_a_store(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    installed(packages, "rsbench.importers")
    rng = np.random.default_rng(0)
    images = {}
    for split, region, year in (("train", "a", 2019), ("test", "b", 2019), ("test", "b", 2020)):
        folder = tmp_path / "in" / split / region
        folder.mkdir(parents=True, exist_ok=True)
        images[region, year] = rng.integers(0, 3, (32, 32)).astype(np.uint16)
        np.save(folder / f"{year}.npy", images[region, year])
    wanted = ("import-dataset", "array-folders", "in", "--out", "out")
    refused = rsbench(tmp_path, *wanted, packages=packages)
    assert refused.returncode == 2
    assert "no scale is stated" in refused.stderr
    made = rsbench(tmp_path, *wanted, "--scale", "0.0001", packages=packages)
    assert made.returncode == 0, made.stderr
    store = open_store(tmp_path / "out")
    assert (store.validate(), store.split("test")) == ([], ("b",))
    values = store.read("b", "own")
    assert (values[:, 0] == np.stack([images["b", 2019], images["b", 2020]])).all()
    assert (store.read("b", "own", array="valid") == (values[:, 0] != 0)).all()


def test_the_signer_renews_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path / "packages", "rsbench.signers")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setenv("ARCHIVE_TOKEN", str(tmp_path / "token"))
    url, sign = "https://archive.example.org/x.tif", signer("archive")
    with pytest.raises(SigningError, match="FileNotFoundError"):
        sign(url, 0)
    (tmp_path / "token").write_text("old\n")
    assert sign(url, 0) == f"{url}?token=old"
    (tmp_path / "token").write_text("new\n")
    assert [sign(url, attempt) for attempt in (0, 1, 0)] == [
        f"{url}?token=old", f"{url}?token=new", f"{url}?token=new",
    ]  # fmt: skip
