"""A small character model of Shakespeare, whose single units the LSTM chapter reads.

    python -m experiments.lstm_units            # 3 seeds, about five minutes
    python -m experiments.lstm_units --smoke    # seconds, nothing kept

Embedding(V, 24) - LSTM(24, 128) - Dense(128, V), two passes over 35 plays, the second
with a smaller learning rate. Nothing was tuned on the test: rates and sizes are the
first that were tried, and the chapter looks for units on Henry V alone.
"""

import argparse
import json
import re
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import machine
from experiments import _run
from rnnlib import checkpoint, data
from rnnlib import torch as rl
from rnnlib.batches import StreamBatches
from rnnlib.text import Vocabulary

HERE = Path(__file__).parent
SEEDS, RATES = (0, 1, 2), (4e-3, 1e-3)  # one learning rate for each epoch
EMBEDDING, HIDDEN = 24, 128


def clean(text):
    """The plays without the spaces that Markdown wants before a line break."""
    return re.sub(" +\n", "\n", text)


def build(vocab_size, seed):
    """The model of the chapter."""
    return rl.Sequential(
        rl.Embedding(vocab_size, EMBEDDING),
        rl.LSTM(EMBEDDING, HIDDEN),
        rl.Dense(HIDDEN, vocab_size),
        seed=seed,
    )


def train(ids, vocab_size, seed):
    """Train one seed on ``ids["train"]``; returns the model and its record."""
    model = build(vocab_size, seed)
    nats, seconds = [], 0.0
    for lr in RATES:
        history = rl.fit(
            model,
            StreamBatches(ids["train"], batch_size=32, steps=100),
            loss=rl.cross_entropy,
            optimizer=rl.Adam(model, lr=lr),
            epochs=1,
            clip=1.0,
            stateful=True,
        )
        nats += history.loss
        seconds += sum(history.seconds)
    record = {"seed": seed, "train_nats": nats, "train_seconds": seconds}
    for split in ("validation", "test"):
        streams = StreamBatches(ids[split], batch_size=8, steps=500)
        loss = rl.evaluate(model, streams, stateful=True)
        record[f"{split}_bits"] = loss / np.log(2)
    return model, record


def main():
    _run.alone("lstm_units")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="seconds, nothing kept")
    args = parser.parse_args()
    torch.set_num_threads(1)
    plays = data.shakespeare()
    text = {s: clean(getattr(plays, s)) for s in ("train", "validation", "test")}
    vocabulary = Vocabulary.fit(text["train"], specials=("<unk>",))
    V = len(vocabulary)
    if args.smoke:
        text = {split: t[:20_000] for split, t in text.items()}
    ids = {split: vocabulary.encode(t) for split, t in text.items()}
    if args.smoke:
        print(json.dumps(train(ids, V, 0)[1], indent=1))
        return
    weights, results = HERE / "weights", HERE / "results"
    weights.mkdir(exist_ok=True)
    results.mkdir(exist_ok=True)
    records = []
    for seed in SEEDS:
        model, record = train(ids, V, seed)
        file = weights / f"lstm_units-seed{seed}.safetensors"
        checkpoint.save(file, model.state_dict())
        records.append(record)
    bits = [r["test_bits"] for r in records]
    result = {
        "task": "next character of Shakespeare's plays: test bits per character",
        "when": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": list(vocabulary.tokens),
        "lr": RATES,
        "test_bits_mean": float(np.mean(bits)),
        "test_bits_std": float(np.std(bits, ddof=1)),
        "seeds": records,
    }
    (results / "lstm_units.json").write_text(
        json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    )
    print(f"test {np.mean(bits):.3f} ± {np.std(bits, ddof=1):.3f} bits per character")


if __name__ == "__main__":
    main()
