"""Deep or wide? Stacks of GRU layers with equal numbers of parameters, on real text.

    python -m experiments.depth_or_width            # 3 seeds, minutes on one thread
    python -m experiments.depth_or_width --smoke    # seconds, nothing kept

Two tasks: the next character of Shakespeare, and which little word comes next. Four
shapes: 1, 2 and 4 plain layers, and 4 layers with residual sums around a norm and a
layer. Each shape has its own learning rate: the best of `RATES` on validation, mean of
two seeds that are not used again. The test is read once, with the final weights.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.timing import machine
from experiments import _run
from rnnlib import checkpoint, data
from rnnlib import numpy as rl
from rnnlib.batches import Batches, StreamBatches
from rnnlib.text import Vocabulary

HERE = Path(__file__).parent
SEEDS, TUNING_SEEDS = (0, 1, 2), (100, 101)
SHAPES = {"1 wide": (1, False), "2": (2, False), "4": (4, False), "4 res": (4, True)}
TASKS = ("characters", "little words")
RATES = {
    "characters": (0.004, 0.008, 0.016, 0.032),
    "little words": (0.001, 0.002, 0.004, 0.008),
}
PARAMETERS = {"characters": 50_000, "little words": 60_000}
TRAIN, HELD_OUT, EMBEDDING = 120_000, 20_000, 32
EXAMPLES = {"train": 8_000, "validation": 2_000, "test": 9_389}


def build(task, depth, residual, H, classes, seed):
    """Embedding, `depth` GRU layers of width `H`, and a Dense layer."""
    many = task == "characters"
    layers = [rl.GRU(EMBEDDING, H, return_sequences=many or depth > 1)]
    for k in range(1, depth):
        whole = many or k + 1 < depth  # the last layer of a classifier gives one state
        layer = rl.GRU(H, H, return_sequences=whole)
        if residual and whole:
            layer = rl.Residual(rl.Sequential(rl.LayerNorm(H), layer))
        layers.append(layer)
    read = classes if many else 1000
    return rl.Sequential(
        rl.Embedding(read, EMBEDDING), *layers, rl.Dense(H, classes), seed=seed
    )


def size(model):
    """Number of parameters."""
    return sum(p.size for p in model.params.values())


def width(task, depth, residual, classes):
    """The width that brings the number of parameters closest to the task's."""

    def off(H):
        model = build(task, depth, residual, H, classes, seed=0)
        return abs(size(model) - PARAMETERS[task])

    return min(range(8, 161), key=off)


def parts(task, limit=None):
    """Training, validation and test batches (each a function), and the classes."""
    if task == "characters":
        plays = data.shakespeare()
        vocabulary = Vocabulary.fit(plays.train)
        cut = {"train": TRAIN, "validation": HELD_OUT, "test": HELD_OUT}
        ids = {
            k: vocabulary.encode(getattr(plays, k)[: limit or n])
            for k, n in cut.items()
        }
        batches = {k: StreamBatches(i, batch_size=32, steps=40) for k, i in ids.items()}
        return {k: lambda seed, b=b: b for k, b in batches.items()}, len(vocabulary)
    words = data.little_words()

    def batches(k):
        part = getattr(words, k)
        order = np.random.default_rng(0).permutation(len(part[0]))
        some = tuple(a[order[: limit or EXAMPLES[k]]] for a in part)
        B, shuffle = (64, True) if k == "train" else (500, False)
        return lambda seed: Batches(*some, batch_size=B, shuffle=shuffle, seed=seed)

    return {k: batches(k) for k in EXAMPLES}, len(words.classes)


def train(task, given, shape, H, classes, seed, lr, epochs):
    """One training; returns the model, its validation loss and its seconds."""
    model = build(task, *SHAPES[shape], H, classes, seed)
    stateful = task == "characters"
    history = rl.fit(
        model,
        given["train"](seed),
        loss=rl.cross_entropy,
        optimizer=rl.Adam(model, lr=lr),
        epochs=epochs,
        clip=1.0,
        validate=given["validation"](0),
        stateful=stateful,
        progress=False,
    )
    return model, history.val_loss[-1], sum(history.seconds)


def compare(task, seeds, tuning_seeds, epochs, limit=None):
    """Tune each shape, then train it with each seed; returns records and weights."""
    given, classes = parts(task, limit)
    stateful = task == "characters"
    shapes, records, kept = {}, {s: {} for s in seeds}, {s: {} for s in seeds}
    for shape, (depth, residual) in SHAPES.items():
        H = width(task, depth, residual, classes)
        tuning = {
            lr: float(
                np.mean(
                    [
                        train(task, given, shape, H, classes, s, lr, epochs)[1]
                        for s in tuning_seeds
                    ]
                )
            )
            for lr in RATES[task]
        }
        lr = min(tuning, key=tuning.get)
        shapes[shape] = {
            "width": H,
            "parameters": size(build(task, depth, residual, H, classes, 0)),
            "lr": lr,
            "tuning_validation_nats": {str(r): v for r, v in tuning.items()},
        }
        for seed in seeds:
            model, valid, seconds = train(
                task, given, shape, H, classes, seed, lr, epochs
            )
            test = rl.evaluate(model, given["test"](0), stateful=stateful)
            records[seed][shape] = {
                "validation_nats": valid,
                "test_nats": test,
                "train_seconds": seconds,
            }
            for name, p in model.state_dict().items():
                kept[seed][f"{task}/{shape}/{name}"] = p
            print(f"{task} {shape:7} seed {seed} lr {lr} test {test:.4f}", flush=True)
    return shapes, records, kept


def measure(seeds, tuning_seeds, epochs, limit=None):
    """Both tasks, joined; one record and one set of weights for each seed."""
    shapes, kept = {}, {s: {} for s in seeds}
    records = {s: {"seed": s, "train_seconds": 0.0} for s in seeds}
    for task in TASKS:
        shapes[task], found, weights = compare(
            task, seeds, tuning_seeds, epochs[task], limit
        )
        for seed in seeds:
            records[seed][task] = found[seed]
            records[seed]["train_seconds"] += sum(
                r["train_seconds"] for r in found[seed].values()
            )
            kept[seed] |= weights[seed]
    return shapes, list(records.values()), kept


def main():
    _run.alone("depth_or_width")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="seconds, nothing kept")
    args = parser.parse_args()
    epochs = {"characters": 3, "little words": 2}
    if args.smoke:
        few = dict.fromkeys(TASKS, 1)
        shapes, records, kept = measure((0,), (100,), few, limit=2_000)
        with tempfile.TemporaryDirectory() as folder:
            checkpoint.save(Path(folder) / "smoke.safetensors", kept[0])
        print(json.dumps({"shapes": shapes, "seeds": records}, indent=1))
        return
    weights, results = HERE / "weights", HERE / "results"
    weights.mkdir(exist_ok=True)
    results.mkdir(exist_ok=True)
    shapes, records, kept = measure(SEEDS, TUNING_SEEDS, epochs)
    for seed in SEEDS:
        file = f"depth_or_width-seed{seed}.safetensors"
        checkpoint.save(weights / file, _run.shipped(kept[seed]))
    result = {
        "task": "depth against width at equal parameters, two tasks on Shakespeare",
        "when": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "epochs": epochs,
        "training": {"characters": TRAIN, "little words": EXAMPLES["train"]},
        "shapes": shapes,
        "seeds": records,
    }
    text = json.dumps(result, indent=1) + "\n"
    (results / "depth_or_width.json").write_text(text)


if __name__ == "__main__":
    main()
