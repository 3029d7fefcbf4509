"""Classes have one colour each, in pictures, reports and GeoTIFFs."""

from __future__ import annotations

import numpy as np

from rsbench.core.class_colours import class_colours
from rsbench.evaluation.pictures import display
from rsbench.store.export.class_map import ClassMap
from rsbench.store.layout import SHARE


def test_thirty_classes_have_thirty_colours_and_the_first_ones_stay() -> None:
    found = class_colours(30)
    assert found.shape == (30, 3)
    assert len({tuple(colour) for colour in found.tolist()}) == 30
    assert np.array_equal(class_colours(5), found[:5])


def test_a_picture_and_a_geotiff_have_the_same_colours() -> None:
    names = {code: f"class {code}" for code in range(14)}
    table = ClassMap(names, nodata=255).colours()
    picture = display(np.eye(14, dtype=np.float32)[:, None], SHARE, (0.0, 1.0))
    assert table.pop(255) == (0, 0, 0, 0)
    assert [colour[:3] for colour in table.values()] == list(map(tuple, picture[0].tolist()))
