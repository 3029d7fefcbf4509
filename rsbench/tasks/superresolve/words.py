"""Words of tables and reports for super-resolution."""

from __future__ import annotations

from rsbench.tasks.words import Words

WORDS = Words(
    frames="coarse images",
    column="fine image",
    choice="Images",
    shared="images that every entry shares",
    sets={"all": "same images"},
    origins="Dates of the coarse images",
    facts=(
        ("Images", "{context} per answer", "images of the coarser sensor that every model sees"),
    ),
    picture="{start}",
    start="coarse image",
    given="coarse image",
    given_picture="coarse image",
    pairs=(
        "A pair is a region with one image. It is dropped where any entry is undefined, so that "
        "no entry is scored on easier ground."
    ),
)
