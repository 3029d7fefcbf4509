#!/usr/bin/env bash
# Build the wheel, install it alone in a clean environment, and use it away from the checkout,
# in a folder that holds a directory called `baselines`.
set -euo pipefail
builder=$1
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$builder" -m build -q --wheel --outdir "$work/dist" "$root"
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check \
  -c "$root/constraints.txt" "$work"/dist/rsbench-*.whl
mkdir -p "$work/elsewhere/baselines"
cd "$work/elsewhere"
bin=$work/venv/bin
"$bin/rsbench" --help >/dev/null
"$bin/rsbench" models --json >models.json
"$bin/rsbench" metrics --json >metrics.json
"$bin/rsbench" recipes --json >recipes.json
"$bin/rsbench" regions --json >regions.json
"$bin/python" - <<'PY'
import json, pathlib
def load(name): return json.loads(pathlib.Path(name).read_text())
models = {m["name"] for m in load("models.json")}
assert {"persistence", "climatology", "linear_trend", "damped_persistence", "simvp"} <= models, models
assert len(load("regions.json")) == 100
assert {"s2-yearly", "demo"} <= {r["name"] for r in load("recipes.json")}
assert any(m["id"] == "ssim@1" for m in load("metrics.json"))
PY
if [ -d "$root/demo/run" ]; then
  "$bin/rsbench" table "$root/demo/run" --markdown >table.md
  "$bin/rsbench" report "$root/demo/run" --out report.html
  test -s table.md && test -s report.html
fi
echo "wheel: works on its own"
