"""Import fine and coarse GeoTIFFs of one ground, with labels beside the coarse ones, as pairs.

The source holds ``fine/`` (or ``hr/``), ``coarse/`` (or ``mr/``) and perhaps ``labels/``; a single
place may be files whose names begin so. Both sensors have units and bands of their own. Fine pixels
nest in coarse ones, and nothing is resampled.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rsbench.build.importers.api import (
    GATE_OPTIONS,
    LAYOUT_OPTIONS,
    PAIR_OPTIONS,
    SENSOR_OPTIONS,
    STEP_OPTIONS,
    ImportRequest,
)
from rsbench.build.importers.label_files import Labels
from rsbench.build.importers.lacks import NotStatedError
from rsbench.build.importers.layout import Images
from rsbench.build.importers.pair_files import (
    COARSE,
    FINE,
    LABELS,
    CoarseRequest,
    images_in,
    paired,
    require_same_regions,
)
from rsbench.build.importers.pair_grids import blocks_of, one_ratio
from rsbench.build.importers.pair_store import Place, PreparedPairs
from rsbench.build.importers.places import blocks_of_place, is_for_test, whole_regions
from rsbench.build.importers.raster import Raster
from rsbench.build.importers.sensor_files import SensorFiles, dated_files
from rsbench.build.importers.stated import SensorIdentity, stated_of
from rsbench.catalog import names
from rsbench.catalog.loaders import load_labels


class GeoTiffPairs:
    """Pairs of one place cut into blocks, or of many regions, with a split in space."""

    title = "folders fine/, coarse/ and labels/ of GeoTIFFs, one pair per date and region"
    takes = SENSOR_OPTIONS.union(
        PAIR_OPTIONS,
        (
            "coarse_scale",
            "coarse_offset",
            "coarse_nodata",
            "coarse_gsd",
            "gsd",
            "layout",
            "origin_tolerance",
            "split",
        ),
    )
    reasons = MappingProxyType(
        {
            "coarse_resampling": "coarse images are never resampled",
            **dict.fromkeys(STEP_OPTIONS, "pairs are of any dates"),
            **dict.fromkeys(GATE_OPTIONS, "pairs are described, and you choose them"),
            **dict.fromkeys(
                sorted({*LAYOUT_OPTIONS} - {"layout", "gsd", "origin_tolerance"}),
                "each file is one whole image",
            ),
        }
    )

    def prepare(self, request: ImportRequest) -> PreparedPairs:
        """See :class:`rsbench.build.importers.api.Importer`."""
        is_for_test(request)  # another split is refused before files are read
        low = CoarseRequest.of(request)
        given = request.options.sensor(), low.options.coarse()
        fine, coarse = images_in(request, FINE, given[0]), images_in(low, COARSE, given[1])
        labels = _labels(request)
        parts: dict[str, Mapping[str, object]] = {FINE: fine, COARSE: coarse}
        require_same_regions(request.source, parts | ({LABELS: labels.files} if labels else {}))
        coarse = {name: paired(name, fine[name], coarse[name]) for name in fine}
        stated = (
            stated_of(request, _first(fine), given[0]),
            stated_of(low, _first(coarse), given[1]),
        )
        ratio = one_ratio(request, {n: (fine[n].rasters[0], coarse[n].rasters[0]) for n in fine})
        pairs = {
            name: (
                dated_files(request, fine[name], stated[0], given[0], SensorIdentity(name=FINE)),
                dated_files(low, coarse[name], stated[1], given[1], SensorIdentity(name=COARSE)),
            )
            for name in fine
        }
        return PreparedPairs(request, _places(request, pairs, ratio), ratio, labels)


def _first(images: Mapping[str, Images]) -> Raster:
    return next(iter(images.values())).rasters[0]


def _labels(request: ImportRequest) -> Labels | None:
    """Return the label files; None where no label set is stated and none lie there."""
    if request.options.labels is not None:
        return Labels.of(request, load_labels(request.options.labels))
    if any(path.name.lower().startswith(LABELS) for path in request.folder().iterdir()):
        raise NotStatedError(
            f"importing {request.source}",
            "it holds labels, and no label set is stated",
            f"State which codes are which classes: {request.command(labels='NAME')} ; `rsbench "
            "labels` lists the label sets, and a .yaml file states one of your own",
            lacks="the label set (see `rsbench labels`)",
            assumed={"labels": names("labels")[0]},
        )
    return None


def _places(
    request: ImportRequest, pairs: Mapping[str, tuple[SensorFiles, SensorFiles]], ratio: int
) -> tuple[Place, ...]:
    grids = {name: low.files[0].grid for name, (_, low) in pairs.items()}
    if len(pairs) > 1:
        return tuple(
            Place(name, *pairs[name], {region: block})
            for name, region, block in whole_regions(request, grids)
        )
    ((name, pair),) = pairs.items()
    grid = grids[name]
    blocks = blocks_of_place(
        request, (grid.height, grid.width), lambda: blocks_of(request, grid, ratio)
    )
    named = {block.name(request.name): block for block in blocks}
    return (Place(name, *pair, named),)


IMPORTER = GeoTiffPairs()
