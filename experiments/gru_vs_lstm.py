"""GRU, LSTM and plain RNN with equal parameters on three tasks.

    python -m experiments.gru_vs_lstm            # 5 seeds, about a quarter of an hour
    python -m experiments.gru_vs_lstm --smoke    # seconds, nothing kept

Every cell gets the number of units that brings the whole model closest to the GRU's
number of parameters. Its learning rate is chosen per task from the same grid, by the
mean over two tuning seeds on the validation part; the test part is read once, by the
seeds that count. The same seed means the same data in the same order for every cell,
so the differences between cells may be taken in pairs.
"""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import machine
from experiments import _run
from rnnlib import checkpoint, data, metrics
from rnnlib import torch as rl
from rnnlib.batches import Batches, StreamBatches
from rnnlib.text import Vocabulary

HERE = Path(__file__).parent
CELLS = ("RNN", "GRU", "LSTM")
SEEDS, TUNING_SEEDS = (0, 1, 2, 3, 4), (100, 101)
RATES = (0.003, 0.01, 0.03)  # tried at first; beyond them if the best is at an end
LADDER = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
LAG, STEPS = 60, 400  # of the adding problem: length, training steps
CHARACTERS, EXAMPLES = 300_000, 24_000  # of Shakespeare; of the little words


@dataclass(frozen=True)
class Task:
    """One task: its model for a cell and a width, its data and its score.

    ``batches(part, seed, limit)`` gives the batches of a part, ``score(model, part)``
    the number that is reported, for which larger is better if ``up``.
    """

    units: int
    build: callable
    batches: callable
    score: callable
    loss: callable
    unit: str
    up: bool
    stateful: bool = False


# ------------------------------------------------------------------ adding


def adding(rng, B, lag=LAG):
    """Numbers in 0..1, two of them marked; the target is the sum of those two."""
    values, marks = rng.random((B, lag)), np.zeros((B, lag))
    row, half = np.arange(B), lag // 2
    first, second = rng.integers(0, half, B), rng.integers(half, lag, B)
    marks[row, first] = marks[row, second] = 1
    x = np.stack([values, marks], axis=-1).astype(np.float32)  # (B, lag, 2)
    total = values[row, first] + values[row, second]
    return x, total[:, None].astype(np.float32)


def build_adding(cell, H, seed):
    layer = getattr(rl, cell)(2, H, return_sequences=False)
    return rl.Sequential(layer, rl.Dense(H, 1), seed=seed)


def adding_batches(part, seed, limit=None):
    if part != "train":
        rng = np.random.default_rng([2, {"validation": 0, "test": 1}[part]])
        return [adding(rng, 1000) for _ in range(2)]
    rng = np.random.default_rng([1, seed])
    return [adding(rng, 32) for _ in range(limit or STEPS)]


def adding_skill(model, part):
    """1 - error / error of a blind guess."""
    batches = adding_batches(part, 0)
    blind = np.concatenate([y for _, y in batches]).var()
    return 1 - rl.evaluate(model, batches, loss=rl.mse) / float(blind)


# -------------------------------------------------------------- characters


@lru_cache(maxsize=1)
def characters():
    """The vocabulary (lower case) and the ids of the three parts."""
    plays = data.shakespeare()
    vocabulary = Vocabulary.fit(plays.train.lower())
    parts = ("train", "validation", "test")
    return vocabulary, {p: vocabulary.encode(getattr(plays, p).lower()) for p in parts}


def build_characters(cell, H, seed):
    V = len(characters()[0])
    layer = getattr(rl, cell)(24, H)
    return rl.Sequential(rl.Embedding(V, 24), layer, rl.Dense(H, V), seed=seed)


def characters_batches(part, seed, limit=None):
    ids = characters()[1][part]
    if part != "train":
        return StreamBatches(ids, batch_size=64, steps=100)
    length = 32 * limit * 32 + 32 if limit else CHARACTERS
    first = int(np.random.default_rng([3, seed]).integers(len(ids) - length))
    return StreamBatches(ids[first : first + length], batch_size=32, steps=32)


def characters_bits(model, part):
    """Bits per character."""
    batches = characters_batches(part, 0)
    return metrics.nats_to_bits(rl.evaluate(model, batches, stateful=True))


# ------------------------------------------------------------ little words


def build_words(cell, H, seed):
    layer = getattr(rl, cell)(16, H, return_sequences=False)
    return rl.Sequential(rl.Embedding(1000, 16), layer, rl.Dense(H, 10), seed=seed)


def words_batches(part, seed, limit=None):
    x, y, lengths = getattr(data.little_words(), part)
    if part != "train":
        return Batches(x, y, lengths, batch_size=512, shuffle=False)
    number = 64 * limit if limit else EXAMPLES
    chosen = np.random.default_rng([4, seed]).permutation(len(x))[:number]
    return Batches(x[chosen], y[chosen], lengths[chosen], batch_size=64, seed=seed)


def words_accuracy(model, part):
    """Share right, of ten classes."""
    return rl.evaluate(model, words_batches(part, 0), loss=metrics.accuracy)


TASKS = {
    "adding": Task(28, build_adding, adding_batches, adding_skill, rl.mse, "skill", 1),
    "characters": Task(
        64,
        build_characters,
        characters_batches,
        characters_bits,
        rl.cross_entropy,
        "bits/char",
        0,
        stateful=True,
    ),
    "little words": Task(
        48,
        build_words,
        words_batches,
        words_accuracy,
        rl.cross_entropy,
        "accuracy",
        1,
    ),
}


def parameters(model):
    """Number of parameters of a model."""
    return sum(p.numel() for p in model.parameters())


@cache
def width(task, cell):
    """Units that bring the model closest to the GRU's number of parameters."""
    build = TASKS[task].build
    wanted = parameters(build("GRU", TASKS[task].units, 0))
    size = partial(_distance, build, cell, wanted)
    return min(range(8, 4 * TASKS[task].units), key=size)


def _distance(build, cell, wanted, H):
    return abs(parameters(build(cell, H, 0)) - wanted)


def build(task, cell, seed):
    """The model of a task, with the matched number of units."""
    return TASKS[task].build(cell, width(task, cell), seed)


def train(task, cell, seed, lr, limit=None):
    """Train one model; returns it and its history."""
    spec, model = TASKS[task], build(task, cell, seed)
    history = rl.fit(
        model,
        spec.batches("train", seed, limit),
        loss=spec.loss,
        optimizer=rl.Adam(model, lr=lr),
        epochs=1,
        clip=1.0,
        stateful=spec.stateful,
        progress=False,
    )
    return model, history


def validated(task, cell, lr, limit=None):
    """Mean validation score of a learning rate over the tuning seeds."""
    models = [train(task, cell, s, lr, limit)[0] for s in TUNING_SEEDS]
    return float(np.mean([TASKS[task].score(m, "validation") for m in models]))


def choose_rate(task, cell, limit=None):
    """The learning rate with the best validation score, and all scores.

    While the best rate is the smallest or largest tried, one beyond it is tried too.
    """
    if limit:
        return RATES[0], {RATES[0]: validated(task, cell, RATES[0], limit)}
    scores = {lr: validated(task, cell, lr) for lr in RATES}
    while True:
        best = (max if TASKS[task].up else min)(scores, key=scores.get)
        k = LADDER.index(best)
        near = {LADDER[max(k - 1, 0)], LADDER[min(k + 1, len(LADDER) - 1)]}
        if not (new := near - scores.keys()):
            return best, scores
        scores |= {lr: validated(task, cell, lr) for lr in new}


def run(seeds, folder, limit=None):
    """Tune, train and test everything; returns settings and one record per seed."""
    settings, records = {}, [{"seed": s, "train_seconds": 0.0} for s in seeds]
    kept = {s: {} for s in seeds}
    for task, spec in TASKS.items():
        settings[task] = {"score": spec.unit, "cells": {}}
        for cell in CELLS:
            lr, tuning = choose_rate(task, cell, limit)
            settings[task]["cells"][cell] = {
                "units": width(task, cell),
                "parameters": parameters(build(task, cell, 0)),
                "lr": lr,
                "validation": {str(k): v for k, v in tuning.items()},
            }
            for record in records:
                model, history = train(task, cell, record["seed"], lr, limit)
                record.setdefault(task, {})[cell] = spec.score(model, "test")
                record["train_seconds"] += sum(history.seconds)
                for name, value in model.state_dict().items():
                    kept[record["seed"]][f"{task}.{cell}.{name}"] = value
            scores = [r[task][cell] for r in records]
            print(
                f"{task:12} {cell:4} lr {lr}  {np.mean(scores):.4f} "
                f"± {np.std(scores, ddof=1):.4f} {spec.unit}",
                flush=True,
            )
    for seed, arrays in kept.items():
        file = folder / f"gru_vs_lstm-seed{seed}.safetensors"
        checkpoint.save(file, _run.shipped(arrays))
    return settings, records


def main():
    _run.alone("gru_vs_lstm")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="seconds, nothing kept")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.smoke:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(run((0, 1), Path(folder), limit=3), indent=1))
        return
    weights, results = HERE / "weights", HERE / "results"
    weights.mkdir(exist_ok=True)
    results.mkdir(exist_ok=True)
    settings, records = run(SEEDS, weights)
    result = {
        "task": "GRU, LSTM and RNN with equal parameters: test scores",
        "when": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "rates": RATES,
        "settings": settings,
        "seeds": records,
    }
    (results / "gru_vs_lstm.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
