"""Spoken digits: one digit a recording in 5 folds, and strings of digits with CTC.

    python -m experiments.speech_recognition            # 3 seeds, under an hour
    python -m experiments.speech_recognition --smoke    # seconds, nothing kept

Three networks of the same kind, two LSTM layers and a Dense layer: a classifier of
single digits, a reader of strings trained with CTC, and such a reader that looks
forward only. Their settings were chosen by a dozen short runs on the validation fold
(folds 2 to 4 for training); then every network was trained on all folds but the one
that it is tested on. The hidden Markov model's states and penalty were chosen likewise.

A last measurement leaves out voices instead of folds. Nobody noted who speaks, so the
recordings are put into six groups that sound alike (`voices`).
"""

import time
from functools import lru_cache

import jiwer
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from experiments import _run
from experiments._word_hmm import WordHMM
from rnnlib import data
from rnnlib import torch as rl
from rnnlib.decode import ctc_beam_search, ctc_greedy

FEATURES, DIGITS, LONGEST = 13, 10, 6
GROUPS, BEAM = 6, 8
ISOLATED = {"ways": 2, "hidden": 64, "epochs": 24, "noise": 0.3, "wiped": (5, 4)}
STRINGS = {"ways": 2, "hidden": 64, "epochs": 40, "noise": 0.2, "wiped": (3, 2)}
STREAMING = {"ways": 1, "hidden": 104, "epochs": 40, "noise": 0.2, "wiped": (3, 2)}
BATCH, COUNT, LR, DROPOUT = 32, 1216, 4e-3, 0.3  # COUNT: strings an epoch


def build(settings, outputs, *, sequences, seed=0):
    """Two LSTM layers, of both directions or of one, and a Dense layer."""
    size, parts = FEATURES, []
    for last in (False, True):
        layer = rl.LSTM(
            size, settings["hidden"], return_sequences=sequences or not last
        )
        if settings["ways"] == 2:
            layer = rl.Bidirectional(layer)
        parts += [layer, rl.Dropout(DROPOUT)]
        size = settings["ways"] * settings["hidden"]
    return rl.Sequential(*parts, rl.Dense(size, outputs), seed=seed)


def scaled(digits, rows):
    """All recordings, scaled to mean 0 and variance 1 over the steps of some."""
    steps = np.concatenate([digits.recordings[k] for k in rows])
    mean, std = steps.mean(axis=0), steps.std(axis=0)
    return [(x - mean) / std for x in digits.recordings]


# ---------------------------------------------------------------- training


class Fresh:
    """Batches drawn anew in every epoch: other speeds, masks, noise, and strings.

    There is no padding. Examples of about the same length share a batch, and each is
    stretched or squeezed by the few per cent that make the lengths equal.

    Parameters
    ----------
    recordings : list of arrays of shape (T, 13)
    labels : array of int, of shape (n,)
    settings : dict
        ``noise``, the standard deviation of what is added to every number, and
        ``wiped``, the most steps and the most features that are set to 0 in a row.
    seed : int
    count : int, optional
        Random strings an epoch, with labels 1 to 10 for CTC. Default: every recording
        once, with labels 0 to 9.
    """

    def __init__(self, recordings, labels, settings, seed, count=None):
        self.recordings, self.labels, self.settings = recordings, labels, settings
        self.seed, self.count, self.epoch = seed, count, 0

    def __len__(self):
        return (self.count or len(self.labels)) // BATCH

    def set_epoch(self, epoch):
        """Make `epoch` the next one."""
        self.epoch = epoch

    def __iter__(self):
        rng = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        n = len(self.labels)
        chosen = rng.permutation(n)[:, None]
        if self.count:
            sizes = rng.integers(3, LONGEST + 1, size=self.count)
            chosen = [rng.integers(n, size=size) for size in sizes]
        xs = [np.concatenate([self._spoken(k, rng) for k in row]) for row in chosen]
        order = np.argsort([len(x) for x in xs], kind="stable")
        for begin in BATCH * rng.permutation(len(self)):
            rows = order[begin : begin + BATCH]
            T = int(np.median([len(xs[k]) for k in rows]))
            x = np.stack([self._spoilt(stretched(xs[k], T), rng) for k in rows])
            y = np.full((len(rows), LONGEST), -1)
            for to, k in zip(y, rows, strict=True):
                to[: len(chosen[k])] = 1 + self.labels[chosen[k]]  # 0 is the blank
            yield (x, y) if self.count else (x, y[:, 0] - 1)

    def _spoken(self, k, rng):
        """A recording up to a quarter faster or slower, a little louder or softer.

        A single digit may also lose up to a quarter at each end: some recordings of
        the data set were cut too close.
        """
        x = self.recordings[k]
        if not self.count:
            share = 0.25 * rng.random(2) * (rng.random(2) < 0.4)
            begin, end = (share * len(x)).astype(int)
            x = x[begin : len(x) - end]
        x = stretched(x, max(5, round(len(x) * 1.25 ** rng.uniform(-1, 1))))
        x[:, 0] += 0.2 * rng.standard_normal()
        return x

    def _spoilt(self, x, rng):
        """An example with noise, and with some steps and features wiped out."""
        x = x + self.settings["noise"] * rng.standard_normal(x.shape, dtype=np.float32)
        steps, features = self.settings["wiped"]
        for _ in range(max(1, len(x) // 20)):
            width = rng.integers(steps + 1)
            begin = rng.integers(len(x) - width)
            x[begin : begin + width] = 0
        width = rng.integers(features + 1)
        begin = rng.integers(FEATURES - width + 1)
        x[:, begin : begin + width] = 0
        return x


def stretched(x, T):
    """The same sound in T steps, by linear interpolation; (T', 13) -> (T, 13)."""
    at = np.linspace(0, len(x) - 1, T)
    left = np.minimum(at.astype(int), len(x) - 2)
    share = (at - left)[:, None].astype(x.dtype)
    return (1 - share) * x[left] + share * x[left + 1]


def fit(recordings, labels, settings, seed, file, *, count=None):
    """Train one network; returns it with the weights as shipped, and the seconds."""
    torch.manual_seed(seed)
    outputs = DIGITS + 1 if count else DIGITS
    model = build(settings, outputs, sequences=bool(count), seed=seed)
    batches = Fresh(recordings, labels, settings, seed, count)
    steps = settings["epochs"] * len(batches)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.01)
    with _run.mixed():
        history = rl.fit(
            model,
            batches,
            loss=rl.ctc_loss if count else rl.cross_entropy,
            optimizer=_run.falling(optimizer, steps, warmup=steps // 20),
            epochs=settings["epochs"],
            clip=1.0,
            checkpoint=file,
            resume=True,
            progress=False,
        )
    return _run.as_shipped(model).eval(), sum(history.seconds)


# ---------------------------------------------------------------- measuring


def log_probs(model, xs, size=50):
    """Log-probabilities for each example, examples of similar length together."""
    found = [None] * len(xs)
    order = np.argsort([len(x) for x in xs], kind="stable")
    for rows in np.array_split(order, -(-len(xs) // size)):
        lengths = np.array([len(xs[k]) for k in rows])
        x = np.zeros((len(rows), lengths.max(), FEATURES), np.float32)
        for to, k in zip(x, rows, strict=True):
            to[: len(xs[k])] = xs[k]
        with torch.no_grad():
            out = model(torch.from_numpy(x), lengths=lengths).log_softmax(-1).numpy()
        for k, row, n in zip(rows, out, lengths, strict=True):
            found[k] = row[:n] if row.ndim > 1 else row
    return found


def errors(truths, readings):
    """jiwer's counts over all strings: rate of wrong digits, and of which kind."""
    text = [[" ".join(map(str, s)) for s in some] for some in (truths, readings)]
    out = jiwer.process_words(*text)
    wrong = [r != t for t, r in zip(*text, strict=True)]
    return {
        "digits": out.wer,
        "substitutions": out.substitutions,
        "deletions": out.deletions,
        "insertions": out.insertions,
        "strings": float(np.mean(wrong)),
    }


def read(model, xs, beam=None):
    """Digits read by the best path, or by prefix search."""
    out = [p[None] for p in log_probs(model, xs)]
    if beam:
        return [ctc_beam_search(p, beam=beam)[0][0][0] - 1 for p in out]
    return [ctc_greedy(p)[0] - 1 for p in out]


@lru_cache(maxsize=1)
def voices(digits):
    """Six groups of recordings that sound alike, (N,): a guess at who speaks.

    Mean and spread of each feature over a recording, less what is usual for its digit,
    clustered by a mixture of six Gaussians.
    """
    x = np.array([np.r_[r.mean(axis=0), r.std(axis=0)] for r in digits.recordings])
    x = x.astype(float)
    for digit in range(DIGITS):
        x[digits.labels == digit] -= x[digits.labels == digit].mean(axis=0)
    mixture = GaussianMixture(GROUPS, n_init=3, random_state=0)
    return mixture.fit_predict(x / x.std(axis=0))


def parts_of(digits, smoke):
    """Folds and groups of the recordings; with ``smoke`` few of them have one."""
    folds, groups = digits.folds, voices(digits)
    if smoke:
        few = np.arange(len(folds)) % 20 == 0
        folds, groups = np.where(few, folds, -1), np.where(few, groups, -1)
    return folds, groups


def train(seed, folder, smoke):
    """One seed: two readers, five classifiers, six classifiers of strange voices."""
    digits = data.spoken_digits()
    y = digits.labels
    folds, groups = parts_of(digits, smoke)
    count, tiny = (2 * BATCH, {"epochs": 1, "hidden": 8}) if smoke else (COUNT, {})

    known = np.flatnonzero((folds >= 0) & (folds != 0))
    xs = scaled(digits, known)
    tests = digits.strings("test")[: 20 if smoke else None]
    truths = [y[chosen] for chosen in tests]
    strings = [np.concatenate([xs[k] for k in chosen]) for chosen in tests]
    record, arrays, seconds = {}, {}, {}
    for name, settings in (("strings", STRINGS), ("streaming", STREAMING)):
        model, seconds[name] = fit(
            [xs[k] for k in known],
            y[known],
            settings | tiny,
            seed,
            folder / f"seed{seed}-{name}.safetensors",
            count=count,
        )
        record[name] = errors(truths, read(model, strings))
        if name == "strings":
            record["beam"] = errors(truths, read(model, strings, BEAM))
        if seed == 0 or name == "strings":
            arrays |= {f"{name}.{k}": v for k, v in model.state_dict().items()}

    for name, parts in (("fold", folds), ("group", groups)):
        record[name], record[f"{name}_mistakes"], seconds[name] = [], [], 0.0
        for part in range(parts.max() + 1):
            rows = np.flatnonzero((parts >= 0) & (parts != part))
            held_out = np.flatnonzero(parts == part)
            xs = scaled(digits, rows)
            model, spent = fit(
                [xs[k] for k in rows],
                y[rows],
                ISOLATED | tiny,
                seed,
                folder / f"seed{seed}-{name}{part}.safetensors",
            )
            seconds[name] += spent
            said = np.argmax(log_probs(model, xs), axis=1)
            wrong = held_out[said[held_out] != y[held_out]]
            record[name].append(1 - len(wrong) / len(held_out))
            record[f"{name}_mistakes"] += [[int(k), int(said[k])] for k in wrong]
            if (name, part) == ("fold", 0):
                guess = [said[chosen] for chosen in tests]
                record["known_cuts"] = errors(truths, guess)
                if seed == 0:
                    weights = model.state_dict().items()
                    arrays |= {f"isolated.{k}": v for k, v in weights}
    del record["group_mistakes"]  # a thousand, of no further use
    record |= {
        "digit_errors": record["strings"]["digits"],
        "isolated": float(np.mean(record["fold"])),
        "strange_voices": float(np.mean(record["group"])),
        "train_seconds": sum(seconds.values()),
        "seconds": seconds,
        "smoke": smoke,
    }
    return record, arrays


# ---------------------------------------------------------------- rivals


def segment_means(x, parts=5):
    """The mean of each of five parts of a recording, (T, 13) -> (65,)."""
    edges = np.linspace(0, len(x), parts + 1).round().astype(int)
    pairs = zip(edges, np.maximum(edges[1:], edges[:-1] + 1), strict=False)
    return np.concatenate([x[a:b].mean(axis=0) for a, b in pairs])


def equal_parts(x, number):
    """A string cut into as many parts of equal length."""
    return np.array_split(x, number)


def rivals(smoke):
    """Classical models on the same folds, groups and strings."""
    digits = data.spoken_digits()
    y = digits.labels
    folds, groups = parts_of(digits, smoke)
    means = np.array([segment_means(x) for x in digits.recordings])
    tests = digits.strings("test")[: 20 if smoke else None]
    truths = [y[chosen] for chosen in tests]
    found = {}
    for name, classifier in (
        ("logistic regression", LogisticRegression(max_iter=1000)),
        ("support vectors", SVC(C=10)),
    ):
        begin, result = time.perf_counter(), {}
        model = make_pipeline(StandardScaler(), classifier)
        for kind, parts in (("fold", folds), ("group", groups)):
            result[kind] = []
            for part in range(parts.max() + 1):
                rows = (parts >= 0) & (parts != part)
                model.fit(means[rows], y[rows])
                held_out = parts == part
                result[kind].append(model.score(means[held_out], y[held_out]))
        model.fit(means[folds > 0], y[folds > 0])
        said = model.predict(means)
        result["known_cuts"] = errors(truths, [said[chosen] for chosen in tests])
        cut = [
            [segment_means(x) for x in equal_parts(digits.join(c)[0], len(c))]
            for c in tests
        ]
        result["equal_parts"] = errors(truths, [model.predict(c) for c in cut])
        found[name] = result | {"seconds": time.perf_counter() - begin}
    found["hidden Markov model"] = _markov(
        digits, folds, groups, tests, truths, {"states": 2} if smoke else {}
    )
    return found


def _markov(digits, folds, groups, tests, truths, size):
    begin, result = time.perf_counter(), {}
    y, xs = digits.labels, digits.recordings
    for kind, parts in (("fold", folds), ("group", groups)):
        result[kind] = []
        for part in range(parts.max() + 1):
            rows = np.flatnonzero((parts >= 0) & (parts != part))
            model = WordHMM(**size).fit([xs[k] for k in rows], y[rows])
            held_out = np.flatnonzero(parts == part)
            said = model.read([xs[k] for k in held_out], penalty=np.inf)
            right = [s[0] == y[k] for s, k in zip(said, held_out, strict=True)]
            result[kind].append(float(np.mean(right)))
            if kind == "fold" and part == 0:
                strings = [digits.join(chosen)[0] for chosen in tests]
                result["strings"] = errors(truths, model.read(strings))
    return result | {"seconds": time.perf_counter() - begin}


def report(records):
    """What the JSON says beside the seeds."""
    smoke = [r.pop("smoke", True) for r in records][0]
    found = rivals(smoke)

    def rate(name, kind):
        return {"score": found[name][kind]["digits"], "seconds": found[name]["seconds"]}

    isolated = {
        name: {"score": float(np.mean(r["fold"])), "seconds": r["seconds"]}
        for name, r in found.items()
    }
    strange = {name: float(np.mean(r["group"])) for name, r in found.items()}
    strange_ours = _run.summary(records, "strange_voices")
    flat = [
        {
            "known_cuts": r["known_cuts"]["digits"],
            "beam": r["beam"]["digits"],
            "streaming": r["streaming"]["digits"],
            "wrong_strings": r["strings"]["strings"],
        }
        for r in records
    ]
    ours = _run.summary(records, "digit_errors")
    markov = found["hidden Markov model"]["strings"]["digits"]
    return {
        "application": "Speech recognition",
        "task": "read strings of 3 to 6 spoken digits, with no alignment given",
        "test": "1,000 strings made of the 600 recordings of fold 0",
        "metric": "digit error rate",
        "better": "lower",
        "target": 0.015,
        "parameters": sum(
            p.numel() for p in build(STRINGS, DIGITS + 1, sequences=True).parameters()
        ),
        "rivals": {
            "cut into equal parts, support vectors (told how many digits)": rate(
                "support vectors", "equal_parts"
            ),
            "logistic regression (told the cuts)": rate(
                "logistic regression", "known_cuts"
            ),
            "support vectors (told the cuts)": rate("support vectors", "known_cuts"),
            "hidden Markov model (told nothing)": rate(
                "hidden Markov model", "strings"
            ),
        },
        "score": ours,
        "verdict": verdict(ours, markov, strange | {"LSTM": strange_ours["mean"]}),
        "known_cuts": _run.summary(flat, "known_cuts"),
        "beam": _run.summary(flat, "beam"),
        "streaming": _run.summary(flat, "streaming"),
        "wrong_strings": _run.summary(flat, "wrong_strings"),
        "isolated": _run.summary(records, "isolated"),
        "isolated_rivals": isolated,
        "strange_voices": strange_ours,
        "strange_voices_rivals": strange,
        "rivals_in_full": found,
        "settings": {
            "isolated": ISOLATED,
            "strings": STRINGS,
            "streaming": STREAMING,
            "batch": BATCH,
            "strings an epoch": COUNT,
            "learning rate": LR,
            "dropout": DROPOUT,
        },
    }


def verdict(ours, markov, strange):
    """Is the network better than the best rival that is told nothing, and where not?"""
    text = (
        f"Digits wrong: {100 * ours['mean']:.2f} ± {100 * ours['std']:.2f} %, with a "
        f"hidden Markov model {100 * markov:.2f} %"
    )
    if abs(ours["mean"] - markov) <= 2 * ours["std"]:
        text += ", a tie within twice the spread"
    elif ours["mean"] < markov:
        text += "; the network is better and never saw where a digit begins"
    else:
        text += "; the older method is better"
    lost = 1 - strange["LSTM"]
    return (
        f"{text}. Both know the voices: when all recordings that sound like one voice "
        f"are left out, {100 * lost:.0f} % of single digits are wrong "
        f"(hidden Markov model {100 * (1 - strange['hidden Markov model']):.0f} %)."
    )


if __name__ == "__main__":
    _run.main("speech_recognition", __doc__, train, report)
