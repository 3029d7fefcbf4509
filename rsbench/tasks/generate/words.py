"""Words of tables and reports for generation."""

from __future__ import annotations

from rsbench.tasks.words import Words

REAL, TRAIN_IMAGE = "real", "train_image"
"""Entries known without a model: the truth, and a training image of the same dominant class."""

WORDS = Words(
    answers="images",
    frames="maps of conditions",
    column="all images",
    choice="Images",
    value="of the whole set of images; mse@1: mean over regions of the region mean",
    shared="images that every entry shares",
    sets={"all": "same conditions"},
    origins="Dates of the images",
    facts=(("Conditions", "{context} map per answer", "the map of classes that models are given"),),
    picture="{start}",
    start="image",
    given="conditions",
    given_picture="conditions",
    pairs=(
        "A pair is a region with one image. It is dropped where any entry is undefined, so that "
        "no entry is scored on easier ground."
    ),
)
