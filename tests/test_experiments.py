"""Every experiment's whole path runs in seconds; its stored results fit its weights."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMES = sorted(
    p.stem for p in (ROOT / "experiments").glob("*.py") if not p.stem.startswith("_")
)


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,  # seconds; a busy machine needs more than a quiet one
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_smoke_run_goes_through_and_leaves_nothing(name):
    before = {p: p.stat().st_mtime_ns for p in (ROOT / "experiments").rglob("*.json")}
    result = run(f"experiments.{name}", "--smoke")
    assert result.returncode == 0, result.stderr
    after = {p: p.stat().st_mtime_ns for p in (ROOT / "experiments").rglob("*.json")}
    assert before == after


@pytest.mark.parametrize("name", NAMES)
def test_results_name_machine_versions_and_three_seeds(name):
    result = json.loads((ROOT / "experiments" / "results" / f"{name}.json").read_text())
    assert {"cpu", "python", "numpy", "torch", "threads"} <= result["machine"].keys()
    assert len(result["seeds"]) >= 3
    for record in result["seeds"]:
        file = f"{name}-seed{record['seed']}.safetensors"
        size = (ROOT / "experiments" / "weights" / file).stat().st_size
        assert size <= 3_000_000 and record["train_seconds"] > 0


def test_the_cpu_benchmark_prints_its_table():
    result = run("benchmarks.cpu", "--seconds", "0", "--layers", "RNN", "--no-save")
    assert result.returncode == 0, result.stderr
    assert "RNN   geometric mean of the ratios: forward" in result.stdout
