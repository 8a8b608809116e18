"""Spoken digits: one digit a recording in 5 folds, and strings of digits with CTC.

python -m experiments.speech_recognition            # 3 seeds
python -m experiments.speech_recognition --smoke    # seconds, nothing kept
"""

import time

import jiwer
import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from experiments import _run
from rnnlib import data
from rnnlib import torch as rl
from rnnlib.decode import ctc_beam_search, ctc_greedy

FEATURES, DIGITS = 13, 10
# hidden size, layers, dropout, noise, passes, examples a pass, batch, learning rate
ISOLATED = dict(
    hidden=64, layers=2, dropout=0.3, noise=0.3, epochs=30, batch=32, lr=4e-3
)
STRINGS = dict(
    hidden=64, layers=2, dropout=0.3, noise=0.3, epochs=30, batch=32, lr=4e-3
)
COUNT = 1200


def build(hidden, layers, outputs, *, sequences, dropout=0.0, ways=2, seed=0):
    """LSTMs on one another, of both directions or of one, and a Dense layer."""
    parts, size = [], FEATURES
    for k in range(layers):
        layer = rl.LSTM(size, hidden, return_sequences=sequences or k < layers - 1)
        parts += [rl.Bidirectional(layer) if ways == 2 else layer, rl.Dropout(dropout)]
        size = ways * hidden
    return rl.Sequential(*parts, rl.Dense(size, outputs), seed=seed)


def scaler(digits, rows):
    """Mean and standard deviation of each feature over the steps of recordings."""
    steps = np.concatenate([digits.recordings[k] for k in rows])
    return steps.mean(axis=0), steps.std(axis=0)


def stretched(x, T):
    """The same sound in T steps, by linear interpolation; (T', 13) -> (T, 13)."""
    at = np.linspace(0, len(x) - 1, T)
    left = np.minimum(at.astype(int), len(x) - 2)
    share = (at - left)[:, None].astype(x.dtype)
    return (1 - share) * x[left] + share * x[left + 1]


class Fresh:
    """Batches drawn anew in every epoch: other strings, speeds, masks and noise.

    There is no padding. Examples of about the same length share a batch, and each is
    stretched or squeezed by the few per cent that make the lengths equal.
    """

    def __init__(self, recordings, labels, settings, seed, strings=None):
        self.recordings, self.labels = recordings, labels
        self.batch, self.noise = settings["batch"], settings["noise"]
        self.settings = settings
        self.seed, self.strings, self.epoch = seed, strings, 0

    def __len__(self):
        return (self.strings or len(self.labels)) // self.batch

    def set_epoch(self, epoch):
        """Make `epoch` the next one."""
        self.epoch = epoch

    def __iter__(self):
        rng = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        n = len(self.labels)
        if self.strings:
            sizes = rng.integers(3, 7, size=self.strings)
            chosen = [rng.integers(n, size=size) for size in sizes]
        else:
            chosen = rng.permutation(n)[:, None]
        xs = [np.concatenate([self.bent(k, rng) for k in row]) for row in chosen]
        order = np.argsort([len(x) for x in xs], kind="stable")
        starts = self.batch * rng.permutation(len(self))
        for rows in (order[i : i + self.batch] for i in starts):
            T = int(np.median([len(xs[k]) for k in rows]))
            x = np.stack([self.spoilt(stretched(xs[k], T), rng) for k in rows])
            if not self.strings:
                yield x, self.labels[chosen[rows, 0]]
                continue
            y = np.full((len(rows), 6), -1)
            for to, k in zip(y, rows, strict=True):
                to[: len(chosen[k])] = 1 + self.labels[chosen[k]]  # 0 is the blank
            yield x, y

    def bent(self, k, rng):
        """A recording, spoken up to a quarter faster or slower, louder or softer."""
        x = self.recordings[k]
        b = self.settings.get("speed", 1.25)
        T = max(5, round(len(x) * b ** rng.uniform(-1, 1)))
        x = stretched(x, T)
        if g := self.settings.get("gain", 0.2):
            x[:, 0] += np.float32(g * rng.standard_normal())
        return x

    def spoilt(self, x, rng):
        """An example with noise, a few steps and a few features wiped out."""
        x = x + self.noise * rng.standard_normal(x.shape, dtype=np.float32)
        for _ in range(max(1, len(x) // 20)):
            width = rng.integers(0, self.settings.get("tmask", 4))
            begin = rng.integers(0, len(x) - width)
            x[begin : begin + width] = 0
        width = rng.integers(0, self.settings.get("fmask", 3))
        begin = rng.integers(0, FEATURES - width + 1)
        x[:, begin : begin + width] = 0
        return x


def fit(model, batches, settings, loss, file, steps=None):
    """Train in half the precision where the processor can."""
    steps = settings["epochs"] * len(batches)
    opt = torch.optim.AdamW(
        model.parameters(), lr=settings["lr"], weight_decay=settings.get("wd", 0.01)
    )
    with _run.mixed():
        return rl.fit(
            model,
            batches,
            loss=loss,
            optimizer=_run.falling(opt, steps, warmup=steps // 20),
            epochs=settings["epochs"],
            clip=1.0,
            checkpoint=file,
            resume=file is not None,
            progress=False,
        )


def outputs(model, xs, size=50):
    """Log-probabilities of each example, in batches of about the same length."""
    order = np.argsort([len(x) for x in xs], kind="stable")
    found = [None] * len(xs)
    model.eval()
    with torch.no_grad():
        for i in range(0, len(xs), size):
            rows = order[i : i + size]
            lengths = np.array([len(xs[k]) for k in rows])
            x = np.zeros((len(rows), lengths.max(), FEATURES), np.float32)
            for to, k in zip(x, rows, strict=True):
                to[: len(xs[k])] = xs[k]
            p = model(torch.from_numpy(x), lengths=lengths).log_softmax(-1).numpy()
            for k, row, n in zip(rows, p, lengths, strict=True):
                found[k] = row[:n] if row.ndim > 1 else row
    return found
