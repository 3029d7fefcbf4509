"""Locks, plain and compressed."""

from __future__ import annotations

from pathlib import Path

from build_fixtures import recipe

from fuzz.damage import Damage, of_gzip, of_json
from fuzz.driver import Format, Subject
from rsbench.build.plan.lock import Lock, LockAsset, LockItem, diff
from rsbench.catalog import recipe_canonical


def lock() -> Lock:
    """Two scenes of two regions."""
    asked = recipe()
    item = LockItem(
        "S2_1", "2021-05-01T10:00:00Z", "GS2A_1", -1000,
        {"B02": LockAsset("a/B02.tif"), "B03": LockAsset("a/B03.tif", 2, 9, f"1220{'0f' * 32}")},
        {"*": LockAsset("a/SCL.tif")}, "33TVL", "05.11", "2021-06-01T10:00:00Z",
    )  # fmt: skip
    places = {region.name: region for region in asked.regions}
    found = {name: {"s2": {2021: (item,), 2022: ()}} for name in places}
    plain = recipe_canonical(asked)
    return Lock(plain, "planetary-computer", "scenes", {"s2": {}}, places, found)


def prepare(folder: Path) -> Subject:
    """One lock in two files, read and compared with each other."""
    files = [folder / "lock.json", folder / "lock.json.gz"]
    for path in files:
        lock().save(path)

    def read() -> object:
        one, other = map(Lock.load, files)
        part = one.subset(None, None)
        return (
            one.to_json(), other.to_json(), one.digest, other.digest, list(part.units()),
            [str(change) for change in diff(one, other)],
        )  # fmt: skip

    def damage(path: Path) -> Damage:
        return of_gzip(of_json) if path.suffix == ".gz" else of_json

    return Subject(files, read, damage, by_file=True)


FORMAT = Format("lock", prepare, 2500)
