"""Measures of collapsed tokens in learning curves.

An encoder whose tokens are nearly equal everywhere has learnt nothing, but its loss can be small:
agreement with a moving average and equality of Gram matrices are both best there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsbench.evaluation.scores import Scores

Points = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class TokenMeasure:
    """A term of a loss that shows a collapse of tokens.

    Args:
        term: its name among the terms of the loss.
        title: what it is.
        limit: the tokens have collapsed where it ends beyond this.
        above: whether beyond is above.
    """

    term: str
    title: str
    limit: float
    above: bool

    def values(self, points: Points) -> list[tuple[float, float]]:
        """Return ``(step, value)``, of validation samples where the curve has them."""
        known = [
            (point["step"], {**point.get("terms", {}), **point.get("validation_terms", {})})
            for point in points
        ]
        return [
            (float(step), float(terms[self.term])) for step, terms in known if self.term in terms
        ]

    def beyond(self, value: float) -> bool:
        """Return whether tokens of this value have collapsed."""
        return value > self.limit if self.above else value < self.limit

    def says(self, value: float) -> str:
        """Return value and limit in words."""
        side = "above" if self.above else "below"
        return f"{self.title} {value:.2g} ({side} {self.limit:g}, a limit that is not calibrated)"


TOKENS = (
    TokenMeasure("token.cosine", "mean cosine of two tokens of an image", 0.8, above=True),
    TokenMeasure("rank.share", "effective rank of tokens over their width", 0.125, above=False),
)


def collapsed_tokens(history: Mapping[str, Points]) -> Iterator[tuple[str, str]]:
    """Yield each model whose tokens collapsed, with the measures that show it."""
    for model, points in history.items():
        ends = [(one, found[-1][1]) for one in TOKENS if (found := one.values(points))]
        said = [one.says(value) for one, value in ends if one.beyond(value)]
        if said:
            yield model, ", ".join(said)


def collapse_notes(members: Iterable[Scores]) -> list[str]:
    """Return one note per model and preset of some runs whose tokens collapsed."""
    found = []
    for scores in members:
        presets = dict(scores.units[["model", "preset"]].itertuples(index=False, name=None))
        for name, said in collapsed_tokens(scores.run.history):
            entry = " ".join(filter(None, (name, presets.get(name))))
            found.append(f"collapsed: {entry}: {said}")
    return list(dict.fromkeys(found))
