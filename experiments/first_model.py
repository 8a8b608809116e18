"""The first model, trained in full: which little word comes next?

    python -m experiments.first_model            # 3 seeds, a few minutes
    python -m experiments.first_model --smoke    # seconds, nothing kept

Embedding(1000, 64) - LSTM(64, 128) - Dense(128, 10) on all 140,960 training examples.
Learning rate and epochs were chosen on validation (Henry V) with seed 0; the test is
evaluated once, at the end.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import machine
from experiments import _run
from rnnlib import checkpoint, data, metrics
from rnnlib import torch as rl
from rnnlib.batches import Batches

HERE = Path(__file__).parent
SEEDS, EPOCHS, LR = (0, 1, 2), 3, 2e-3


def build(seed):
    """The model of the chapter."""
    return rl.Sequential(
        rl.Embedding(1000, 64),
        rl.LSTM(64, 128, return_sequences=False),
        rl.Dense(128, 10),
        seed=seed,
    )


def train(task, seed, folder, limit=None):
    """Train one seed, going on where an interrupted run was; returns its record."""
    model = build(seed)
    x, y, lengths = (a[:limit] for a in task.train)
    validation = Batches(*task.validation, batch_size=512, shuffle=False)
    test = Batches(*task.test, batch_size=512, shuffle=False)
    running = folder / f"running-seed{seed}.safetensors"
    history = rl.fit(
        model,
        Batches(x, y, lengths, batch_size=64, seed=seed),
        loss=rl.cross_entropy,
        optimizer=rl.Adam(model, lr=LR),
        epochs=EPOCHS,
        clip=1.0,
        validate=validation,
        checkpoint=running,
        resume=True,
    )
    arrays = _run.shipped(_run.as_shipped(model).state_dict())
    checkpoint.save(folder / f"first_model-seed{seed}.safetensors", arrays)
    return {
        "seed": seed,
        "train_nats": history.loss,
        "validation_nats": history.val_loss,
        "validation_accuracy": rl.evaluate(model, validation, loss=metrics.accuracy),
        "test_accuracy": rl.evaluate(model, test, loss=metrics.accuracy),
        "test_nats": rl.evaluate(model, test),
        "train_seconds": sum(history.seconds),
    }


def main():
    _run.alone("first_model")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="seconds, nothing kept")
    args = parser.parse_args()
    torch.set_num_threads(1)
    task = data.little_words()
    if args.smoke:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(train(task, 0, Path(folder), limit=2000), indent=1))
        return
    weights, results = HERE / "weights", HERE / "results"
    weights.mkdir(exist_ok=True)
    results.mkdir(exist_ok=True)
    records = [train(task, seed, weights) for seed in SEEDS]
    accuracy = [r["test_accuracy"] for r in records]
    result = {
        "task": "which little word comes next: test accuracy on 9,389 examples",
        "when": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "parameters": sum(p.numel() for p in build(0).parameters()),
        "lr": LR,
        "epochs": EPOCHS,
        "test_accuracy_mean": float(np.mean(accuracy)),
        "test_accuracy_std": float(np.std(accuracy, ddof=1)),
        "seeds": records,
    }
    (results / "first_model.json").write_text(json.dumps(result, indent=1) + "\n")
    for file in weights.glob("running-seed*"):
        file.unlink()
    print(f"test accuracy {np.mean(accuracy):.4f} ± {np.std(accuracy, ddof=1):.4f}")


if __name__ == "__main__":
    main()
