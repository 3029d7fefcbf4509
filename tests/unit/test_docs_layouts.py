"""Every row of the table of layouts in docs/importers.md has a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "importers.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="not run from a checkout")
LAYOUTS, KINDS = "test_import_layouts", "test_import_file_kinds"
STATED = "test_import_stated"
STACKS, TRIPLETS = "test_import_stacks", "test_import_triplets"
TESTS = {
    "one file per date, all bands in it": ("test_build_importers", "blocks_hold_the_files_pixels"),
    "one file per band": (LAYOUTS, "a_file_per_band_is_one_image_per_date"),
    "a folder per date": (LAYOUTS, "without_a_layout_the_command_is_told_and_works"),
    "a folder per band": (LAYOUTS, "without_a_layout_the_command_is_told_and_works"),
    "a folder per region, or many small patches (series)": (
        LAYOUTS, "many_small_patches_are_split_along_a_line_with_a_gap",
    ),
    "several dates in one file (series)": (
        STACKS, "twelve_months_are_never_twelve_bands_silently",
    ),
    "irregular dates (series)": (
        "test_import_regular", "an_irregular_series_says_what_to_type_and_the_command_works",
    ),
    "offset per file": (STACKS, "sentinel_2_across_january_2022_demands_a_statement"),
    "mask files beside the images": (LAYOUTS, "mask_files_are_told_and_read"),
    "JPEG 2000": (KINDS, "jpeg_2000_is_read"),
    "ENVI, a flat binary with a header": (KINDS, "envi_files_are_read"),
    "NetCDF": (KINDS, "variables_of_netcdf_are_bands"),
    "bands in another order": (STATED, "bands_are_found_by_the_names_that_files_give_them"),
    "three or more bands": ("test_band_colours", "colours_are_stated_at_import"),
    "origins that differ by a part of a pixel": (
        STATED, "origins_within_a_stated_part_of_a_pixel_are_one_grid",
    ),
    "integers of 32 bits": (KINDS, "integers_of_32_bits_are_stored_exactly_or_refused"),
    "NDVI and other indices": (KINDS, "an_index_is_a_unit_of_its_own"),
    "first row in the south": (KINDS, "south_up_images_are_turned"),
    "a world file (`.tfw`), or an `.aux.xml` with nodata or scale": (
        KINDS, "a_world_file_places_an_image_and_an_aux_file_states_its_nodata",
    ),
    "images beside folders with images": (LAYOUTS, "images_in_folders_below_others_are_told"),
    "no georeference": (KINDS, "images_without_a_place_need_a_pixel_size"),
    "a coarse grid off the fine one, such as 463.3 m": (
        TRIPLETS, "coarse_grids_off_the_fine_lattice_come_onto_it",
    ),
    "a ratio such as 7": (TRIPLETS, "a_ratio_of_seven_is_imported_and_scored"),
    "one scene, to train on too (triplets)": (
        "test_import_remedies", "one_scene_is_enough_to_train_and_test_a_fusion_model",
    ),
    "Zarr cubes": ("test_import_cubes", "cubes_are_read_with_their_place_and_dates"),
    "HDF and other kinds of files": (KINDS, "other_kinds_of_files_are_named"),
}  # fmt: skip


def test_every_row_has_a_test_and_every_test_a_row() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("| layout | command or reason |")[2]
    rows = re.findall(r"^\| (?!layout)([^|]+?) \| ", table.partition("\n\n")[0], re.MULTILINE)
    assert rows == list(TESTS)
    for module, name in TESTS.values():
        assert f"def test_{name}(" in (HERE / f"{module}.py").read_text(encoding="utf-8"), name
