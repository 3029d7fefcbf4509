"""YAML files that are too deep or too large, and numbers that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from rsbench.catalog.yamlfile import MAX_BYTES, load_yaml
from rsbench.core.errors import CatalogError


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        again = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} [{again}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (bomb(9), "more than 100000 values"),
        ("[" * 200_000, "nested more than 50 deep"),
        ("a: " + "{a: " * 5000, "nested more than 50 deep"),
        ("- " * 60 + "x", "nested more than 50 deep"),
        ("a: &a [*a]", "an anchor contains itself"),
        ("a: " + "9" * 5000, "cannot be read as int"),
        ("a: !!int many", '"many" cannot be read as int'),
        ("a: !!bool maybe", '"maybe" cannot be read as bool'),
        ("a: .nan", '".nan" is no finite number'),
        ("a: 1.0e+999", "is no finite number"),
        ("a: 1:30", "is read as the number 90"),
        ("a: \x01", "this is not YAML"),
        ("#" * (MAX_BYTES + 1), "larger than 4 MiB"),
    ],
    ids=lambda text: text[:20],
)
def test_what_cannot_be_read_is_refused_at_once(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(CatalogError, match=says):
        load_yaml(path)


def test_a_mark_at_the_beginning_is_no_part_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: x\n", encoding="utf-8-sig")
    assert load_yaml(path).value == {"name": "x"}
