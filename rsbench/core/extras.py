"""Which optional package belongs to which extra, as the installed metadata of rsbench state it."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version

_HIDDEN = ("all", "test", "docs")
"""Extras that are not for users, or hold others."""
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+).*\bextra == [\"']([\w-]+)[\"']")
_DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml", "skimage": "scikit-image",
                  "sklearn": "scikit-learn"}  # fmt: skip
"""Import name → name of the package, where they differ by more than ``_`` and ``-``."""


@cache
def extras() -> dict[str, tuple[str, ...]]:
    """Return the packages of every extra for users, in the order of the metadata."""
    found: dict[str, list[str]] = {}
    for text in requires("rsbench") or ():
        match = _REQUIREMENT.match(text)
        if match and match[2] not in _HIDDEN and match[1] != "rsbench":
            found.setdefault(match[2], []).append(match[1])
    return {name: tuple(packages) for name, packages in found.items()}


def distribution(module: str) -> str:
    """Return the package that offers a module, e.g. ``zlib-ng`` for ``zlib_ng.zlib``."""
    root = module.partition(".")[0]
    return _DISTRIBUTIONS.get(root, root.replace("_", "-").lower())


def installed(package: str) -> str | None:
    """Return the version of an installed package; None where it is absent."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def extra_of(module: str) -> str | None:
    """Return the smallest extra that has a module's package; None if no extra has it."""
    package = distribution(module)
    having = {extra: names for extra, names in extras().items() if package in names}
    return min(having, key=lambda extra: len(having[extra]), default=None)


def install_command(module: str) -> str:
    """Return the command that installs a module's package."""
    extra = extra_of(module)
    return f"pip install 'rsbench[{extra}]'" if extra else f"pip install {distribution(module)}"
