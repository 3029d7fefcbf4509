"""What segmentation predicts in place of the bands of a sensor."""

from rsbench.store.layout import SHARE

TARGET = "labels"
"""Name of what is predicted, in place of a sensor."""
UNIT = SHARE
