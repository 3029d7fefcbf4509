"""Requests that a network cannot serve are rejected before it runs."""

from __future__ import annotations

from rsbench import Given, InputError, Want


def check_bands(name: str, bands: int, want: Want) -> None:
    """Reject a number of bands that a network was not built for.

    Raises:
        InputError: names both numbers and the option to set.
    """
    if len(want.bands) != bands:
        raise InputError(
            f"{len(want.bands)} bands (C) of {name}",
            f"the network was built for {bands} bands",
            f"Build it with bands={len(want.bands)}",
        )


def check_map(name: str, given: Given, want: Want) -> None:
    """Reject a map that is not on the grid of the wanted image.

    Raises:
        InputError: names both sizes, or the row whose grids differ.
    """
    asked = f"an image of {want.size[0]}×{want.size[1]} px by {name}"
    remedy = "Bring the map to the grid of the wanted image"
    for sensor, frames in given.frames.items():
        height, width = frames.values.shape[-2:]
        if (height, width) != want.size:
            raise InputError(asked, f"the map {sensor} has {height}×{width} px", remedy)
        if given.grids[sensor] != want.grids:
            raise InputError(asked, f"the map {sensor} is on another grid", remedy)


def check_leads(name: str, leads: int, want: Want) -> None:
    """Reject a number of lead times other than what a network predicts per call.

    Raises:
        InputError: names both numbers and the remedy.
    """
    if want.times.shape[1] != leads:
        raise InputError(
            f"{want.times.shape[1]} lead times (T) of {name}",
            f"it predicts {leads} per call",
            "Follow the rollout of its card, which asks for that many at a time",
        )
