"""Every experiment's whole path runs in seconds; its stored results fit its weights."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments import _run
from rnnlib import torch as rl

ROOT = Path(__file__).parent.parent
WEIGHTS = ROOT / "experiments" / "weights"
NAMES = sorted(
    p.stem for p in (ROOT / "experiments").glob("*.py") if not p.stem.startswith("_")
)
TRAININGS = [name for name in NAMES if name != "record_traffic"]  # that one records


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


@pytest.mark.parametrize("name", sorted({*TRAININGS} - {"text_generation"}))
def test_a_training_of_one_process_refuses_torchrun(name, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a sign of torchrun")
    monkeypatch.setattr(sys, "argv", [name, "--smoke"])
    with pytest.raises(SystemExit, match=f"experiments.{name} trains in one process;"):
        runpy.run_path(str(ROOT / "experiments" / f"{name}.py"), run_name="__main__")


@pytest.mark.parametrize("name", TRAININGS)
def test_results_name_machine_versions_and_three_seeds(name):
    result = json.loads((ROOT / "experiments" / "results" / f"{name}.json").read_text())
    assert {"cpu", "python", "numpy", "torch", "threads"} <= result["machine"].keys()
    assert len(result["seeds"]) >= 3
    assert all(record["train_seconds"] > 0 for record in result["seeds"])


@pytest.mark.parametrize("name", TRAININGS)
def test_weights_are_there_and_small(name):
    files = sorted(WEIGHTS.glob(f"{name}-seed*.safetensors"))
    assert f"{name}-seed0.safetensors" in [file.name for file in files]
    assert all(file.stat().st_size <= 3_000_000 for file in files)


def test_all_weights_together_are_small():
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) <= 20_000_000


def falling(steps, warmup, done=0):
    """Learning rates of `steps` steps, the first `done` by an optimizer now gone."""
    weight, rates = torch.nn.Parameter(torch.ones(1)), []
    optimizer = _run.falling(torch.optim.Adam([weight], lr=0.5), steps, warmup)
    for k in range(steps):
        if k == done and done:
            state = optimizer.state_dict()["state"]
            optimizer = torch.optim.Adam([weight], lr=0.5)
            optimizer.load_state_dict(
                {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
            )
            _run.falling(optimizer, steps, warmup)
        weight.grad = torch.ones(1)
        optimizer.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return np.array(rates)


def test_the_learning_rate_rises_and_falls():
    rates = falling(20, warmup=3)
    assert rates.argmax() == 3 and (np.diff(rates)[3:] < 0).all()
    assert rates[0] == pytest.approx(0.5 / 4)
    assert 0.005 <= rates[-1] <= 0.01


def test_the_learning_rate_goes_on_after_an_interruption():
    np.testing.assert_array_equal(falling(20, 3, done=7), falling(20, 3))


def test_half_precision_follows_the_weights():
    """A cache of cast weights would train on those of the first step."""
    layer = rl.Sequential(rl.Embedding(7, 8), rl.LSTM(8, 16), rl.Dense(16, 7), seed=0)
    x = torch.arange(12).reshape(2, 6) % 7
    before = rl.evaluate(layer, [(x, x)])
    with _run.mixed():
        optimizer = rl.Adam(layer, lr=0.03)
        rl.fit(layer, [(x, x)] * 100, loss=rl.cross_entropy, optimizer=optimizer,
               epochs=1, progress=False)  # fmt: skip
    assert before > 1.8 and rl.evaluate(layer, [(x, x)]) < 0.05
    assert {p.dtype for p in layer.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "model", [rl.Sequential(rl.Dense(3, 2), seed=0), torch.nn.Linear(3, 2)], ids=type
)
def test_what_is_measured_is_what_is_shipped(model):
    own = {k: v.clone() for k, v in model.state_dict().items()}
    shipped = _run.shipped(_run.as_shipped(model).state_dict())
    for name, value in model.state_dict().items():
        assert shipped[name].dtype == np.float16
        np.testing.assert_array_equal(value.numpy(), shipped[name])
        assert 0 <= (value - own[name]).abs().max() < 1e-3


@pytest.mark.parametrize("killed", [False, True])
def test_a_run_skips_what_is_done(killed, tmp_path, monkeypatch, capsys):
    for folder in ("RESULTS", "WEIGHTS", "RUNNING"):
        monkeypatch.setattr(_run, folder, tmp_path / folder)
    monkeypatch.setattr(sys, "argv", ["toy"])
    trained = []

    def train(seed, folder, smoke):
        trained.append(seed)
        if killed and trained == [0, 1]:
            raise KeyboardInterrupt
        (folder / f"seed{seed}.safetensors").write_text("unfinished")
        return {"score": seed, "train_seconds": 1.0}, {"W": np.ones(2) * seed}

    def report(records):
        return {"task": "toy", "score": _run.summary(records, "score")}

    if killed:
        with pytest.raises(KeyboardInterrupt):
            _run.main("toy", "A toy.", train, report)
    _run.main("toy", "A toy.", train, report)
    assert trained == ([0, 1, 1, 2] if killed else [0, 1, 2])
    result = json.loads((tmp_path / "RESULTS" / "toy.json").read_text())
    assert result["score"] == {"mean": 1.0, "std": 1.0}
    assert [r["seed"] for r in result["seeds"]] == [0, 1, 2]
    assert len(list((tmp_path / "WEIGHTS").iterdir())) == 3
    assert not list((tmp_path / "RUNNING" / "toy").glob("seed*"))


def test_the_cpu_benchmark_prints_its_table():
    result = run("benchmarks.cpu", "--seconds", "0", "--layers", "RNN", "--no-save")
    assert result.returncode == 0, result.stderr
    assert "RNN: geometric means" in result.stdout


def test_the_readme_says_what_the_cpu_benchmark_measured():
    found = json.loads((ROOT / "benchmarks" / "results" / "cpu.json").read_text())
    rnn, gru, lstm = (
        f"{found['geometric_means'][kind]['both, numpy / torch.nn']:.1f}"
        for kind in ("RNN", "GRU", "LSTM")
    )
    assert rnn == gru
    said = " ".join((ROOT / "README.md").read_text().split())
    assert f"takes {rnn} (RNN, GRU) and {lstm} times (LSTM) the time of" in said


def test_the_benchmark_of_scans_prints_its_table():
    result = run("benchmarks.scan", "--seconds", "0", "--longest", "16", "--no-save")
    assert result.returncode == 0, result.stderr
    for layer in (
        "GRU torch torch.nn",
        "MinGRU numpy chunked",
        "StateSpace torch loop",
    ):
        assert layer in result.stdout
