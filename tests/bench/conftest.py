"""What the kept JSON says of a measurement: enough to read it again, nothing of whose machine."""

from __future__ import annotations

from typing import Any

PRIVATE = ("node", "processor")


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    for name in PRIVATE:
        machine_info.pop(name, None)


def pytest_benchmark_update_json(config: Any, benchmarks: Any, output_json: dict[str, Any]) -> None:
    for entry in output_json["benchmarks"]:
        entry["stats"].pop("data", None)
