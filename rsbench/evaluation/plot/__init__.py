"""Figures of runs on matplotlib axes, in Python ``rsbench.plot``.

Every function takes what was scored as ``source``: the scores that ``rsbench.evaluate`` returns, a
run folder, or several run folders that compare. It draws on ``ax``, or on the axes of a new
figure, and returns the axes. Figures of simulated data say so.
"""

from __future__ import annotations

from rsbench.evaluation.plot.charts import decay, perception_distortion, ranking
from rsbench.evaluation.plot.files import Drawing, save
from rsbench.evaluation.plot.strip import strip
from rsbench.evaluation.report.choice import Choice

__all__ = ["Choice", "Drawing", "decay", "perception_distortion", "ranking", "save", "strip"]
