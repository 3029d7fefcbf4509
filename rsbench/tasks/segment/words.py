"""Words of tables and reports for segmentation."""

from __future__ import annotations

from rsbench.tasks.words import Words

WORDS = Words(
    answers="class maps",
    frames="images",
    column="all images",
    choice="Images",
    value="pooled over all pixels; brier@1 and mse@1: mean over regions of the region mean",
    shared="pixels that every entry shares",
    sets={"all": "same images"},
    origins="Dates of the images",
    facts=(("Images", "{context} per answer", "images of the input sensor that every model sees"),),
    picture="{start}",
    start="image",
    given="image",
    given_picture="image",
    pairs=(
        "A pair is a region with one image. It is dropped where any entry is undefined, so that "
        "no entry is scored on easier ground."
    ),
)
