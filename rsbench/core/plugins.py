"""Entry points: parts that installed packages add to rsbench."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

OWN = "rsbench"


@dataclass(frozen=True)
class Plugin:
    """One entry point after loading.

    Args:
        name: of the entry point.
        package: distribution that declares it.
        value: the object it names, None where loading failed.
        fault: why it could not be loaded, None where it was.
    """

    name: str
    package: str
    value: object = None
    fault: str | None = None

    @property
    def own(self) -> bool:
        """Whether this package declares it."""
        return self.package == OWN


def load_plugins(group: str) -> Iterator[Plugin]:
    """Load every entry point of a group, those of this package first, each once.

    An entry point that cannot be loaded is yielded with the reason and raises nothing.
    """
    points = sorted(entry_points(group=group), key=lambda p: (_package(p) != OWN, p.name))
    for point in dict.fromkeys(points):  # an editable install may be found twice
        try:
            yield Plugin(point.name, _package(point), point.load())
        except Exception as error:  # noqa: BLE001 - importing another package may raise anything
            fault = f"{point.value} raises {type(error).__name__}: {error}"
            yield Plugin(point.name, _package(point), fault=fault)


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unnamed package"
