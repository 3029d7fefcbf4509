"""Spatiotemporal fusion: the fine image of a date from its coarse one and other dates of both."""
