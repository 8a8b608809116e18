"""Two processes train as one does, and a process that dies costs nothing but time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import text_generation
from rnnlib import checkpoint
from rnnlib.batches import Batches
from rnnlib.torch.distributed import Shard, processes
from tests.torch import experiment_worker

torch = pytest.importorskip("torch")
WORKER = Path(__file__).with_name("worker.py")
ROOT = Path(__file__).parents[2]


def started(*arguments, world, restarts=0):
    """A program that has run in so many processes, with what it said."""
    start = ["-m", "torch.distributed.run", "--standalone"]
    start += [f"--nproc-per-node={world}", f"--max-restarts={restarts}"]
    command = [sys.executable, *(start if world > 1 else []), *arguments]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    env["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # see `processes`
    return subprocess.run(
        command,
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def run(job, folder, world, restarts=0):
    """Train; returns weights and history, or what was said by one that failed."""
    out = started(WORKER, job, folder, world=world, restarts=restarts)
    if out.returncode:
        return out.stderr
    return checkpoint.load(folder / f"{job}-of-{world}.safetensors")[0]


@pytest.mark.parametrize("job", ["ragged", "stateful"])
def test_two_processes_train_as_one(tmp_path, job):
    """20 steps of Adam on 7 rows of 1 to 9 steps, and on 5 streams: 4 + 3, 3 + 2."""
    alone, shared = run(job, tmp_path, 1), run(job, tmp_path, 2)
    assert len(alone["history.step_loss"]) == 20
    for name, value in alone.items():
        np.testing.assert_allclose(
            shared[name], value, rtol=0, atol=1e-10, err_msg=name
        )


def test_a_killed_process_is_replaced(tmp_path):
    """Both start again at the last checkpoint; dropout draws what it would have."""
    plain = run("plain", tmp_path, 2)
    killed = run("killed", tmp_path, 2, restarts=1)
    assert (tmp_path / "died").exists()
    assert isinstance(plain, dict), plain
    assert isinstance(killed, dict), killed
    assert plain.keys() == killed.keys()
    for name, value in plain.items():
        np.testing.assert_array_equal(killed[name], value, err_msg=name)


def test_a_training_is_not_resumed_by_fewer_processes(tmp_path):
    run("resume", tmp_path, 2)
    written = tmp_path / "resume2.safetensors"
    written.rename(tmp_path / "resume1.safetensors")
    error = run("resume", tmp_path, 1)
    assert "was written by rnnlib.torch with Adam in 2 processes, not by" in error


def test_two_processes_run_an_experiment_as_one(tmp_path, monkeypatch):
    """All of it, with two seeds that are done.

    The float32 sums over 20 streams are now sums over 10 and 10: 3e-7 bits were seen.
    """
    experiment_worker.simplify(monkeypatch.setattr)
    alone, weights = text_generation.train(0, tmp_path, True)
    running = tmp_path / "RUNNING" / text_generation.NAME
    running.mkdir(parents=True)
    for seed in (1, 2):
        record = {"seed": seed, "when": "", "machine": {}} | alone
        (running / f"record{seed}.json").write_text(json.dumps(record))

    out = started(WORKER.with_name("experiment_worker.py"), tmp_path, world=2)
    assert out.returncode == 0, out.stderr
    assert len(out.stdout.splitlines()) == 1  # the first process, and seed 0, alone
    written = tmp_path / "RESULTS" / f"{text_generation.NAME}.json"
    result = json.loads(written.read_text())
    assert result["machine"]["processes"] == 2
    shared, *others = result["seeds"]
    assert [r["when"] for r in others] == ["", ""]
    for key in ("train_bits", "validation_curve", "test_bits"):
        np.testing.assert_allclose(shared[key], alone[key], rtol=0, atol=1e-5)
    assert alone["validation_curve"][0] < alone["train_bits"][0] - 0.3  # it learned
    (file,) = (tmp_path / "WEIGHTS").iterdir()
    for name, value in checkpoint.load(file)[0].items():
        np.testing.assert_allclose(value, weights[name], rtol=0, atol=1e-3)


def test_the_experiment_as_it_is_started():
    smoke = ("experiments.text_generation", "--smoke")
    out = started("-m", *smoke, world=2)
    assert out.returncode == 0, out.stderr
    assert json.loads(out.stdout)["application"] == "Text generation"


def test_the_benchmark_counts_four_bytes_a_parameter():
    out = started("-m", "benchmarks.scaling", "--smoke", "--rounds", "1", world=1)
    assert out.returncode == 0, out.stderr
    assert "4.00 bytes a parameter in 1 messages" in out.stdout


def test_without_torchrun_there_is_one_process():
    with processes() as (rank, world):
        assert (rank, world) == (0, 1)


def test_shards_are_the_batch():
    x = np.arange(14).reshape(7, 2)
    lengths = np.array([2, 1, 2, 1, 2, 1, 2])
    batches = Batches((x, x), x, (lengths, lengths), batch_size=7)
    batches.set_epoch(0)
    (whole,) = batches
    parts = []
    for rank in range(3):
        shard = Shard(batches, rank, 3)
        shard.set_epoch(0)
        assert len(shard) == 1
        parts += list(shard)
    assert [len(p[1]) for p in parts] == [3, 2, 2]
    np.testing.assert_array_equal(np.concatenate([p[1] for p in parts]), whole[1])
    for k in (0, 2):  # the pair of inputs, the pair of lengths
        for i in range(2):
            joined = np.concatenate([p[k][i] for p in parts])
            np.testing.assert_array_equal(joined, whole[k][i])


def test_bad_shards():
    with pytest.raises(ValueError, match="a rank below 2, got 2"):
        Shard([], 2, 2)
    with pytest.raises(TypeError, match="world"):
        Shard([], 0, 2.0)
    with pytest.raises(ValueError, match="each of 4 processes, got 3 rows"):
        list(Shard([(np.zeros((3, 2)), np.zeros(3))], 0, 4))
