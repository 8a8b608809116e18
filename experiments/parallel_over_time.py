"""What a state that no gate looks at can do: parity, counting, selective copying.

    python -m experiments.parallel_over_time            # 3 seeds, half an hour
    python -m experiments.parallel_over_time --smoke    # seconds, nothing kept

Every model gets the widths that bring it closest to the same number of parameters, and
its learning rate is chosen for each task from the same grid, on the validation part
with a seed of its own. It trains at one length; the test part has longer ones too.
"""

import json
import time
from functools import cache

import numpy as np
import torch

from experiments import _run
from rnnlib import checkpoint
from rnnlib import torch as rl
from rnnlib.torch import scan

RATES, TUNING_SEED = (0.003, 0.01, 0.03), 100
PARAMETERS = 7_000
TRAINED, LENGTHS = 40, (20, 40, 64, 96, 128, 192, 256)  # steps
KEPT, LETTERS = 4, 8  # of selective copying: what is to be copied, from how many
TESTED = 400  # new sequences at each length
IGNORED = -1  # a target that is not asked for
SHIPPED = {
    "parity": ("LSTM", "MinGRU x1", "SignedMinGRU x1"),
    "copying": ("LSTM", "MinGRU x1", "MinGRU x2", "MinGRU x1 slow"),
}


class SignedMinGRU(scan.MinGRU):
    """MinGRU whose factor runs from -1 to 1: it may turn the state's sign.

    Grazzi et al., "Unlocking state-tracking in linear RNNs through negative
    eigenvalues", 2025.
    """

    def _terms(self, x):
        z, b, read = super()._terms(x)
        return 2 * z - 1, b, read


# ------------------------------------------------------------------- tasks
# Each gives x (B, T), targets y (B, T), and where the answer counts for the score.


def parity(rng, B, T):
    """Is the number of ones so far odd? It counts at the last eight steps."""
    x = rng.integers(0, 2, (B, T))
    counts = np.zeros((B, T), bool)
    counts[:, -8:] = True
    return x, x.cumsum(axis=1) % 2, counts


def counting(rng, B, T):
    """Fewer a than b so far, as many, or more?

    The balance climbs, with slips, to a turning point in the second quarter or third,
    and falls again. It counts where the balance is back near zero: there only an exact
    count helps.
    """
    turn = rng.integers(T // 4, T // 2 + 1, (B, 1))
    late = np.arange(T) >= turn
    up = (rng.random((B, T)) < 0.9) != late
    up ^= rng.random((B, 1)) < 0.5
    balance = np.where(up, 1, -1).cumsum(axis=1)
    return up.astype(int), np.sign(balance) + 1, late & (np.abs(balance) <= 1)


def copying(rng, B, T):
    """Four letters somewhere among blanks; at the end, give them in their order."""
    x = np.zeros((B, T), int)  # 0 is the blank
    y = np.full((B, T), IGNORED)
    y[:, -KEPT:] = rng.integers(0, LETTERS, (B, KEPT))
    where = rng.random((B, T - KEPT)).argsort(axis=1)[:, :KEPT]
    np.put_along_axis(x, np.sort(where, axis=1), 1 + y[:, -KEPT:], axis=1)
    x[:, -KEPT:] = LETTERS + 1  # the signal: answer now
    return x, y, y != IGNORED


#        data     symbols      answers  training steps
TASKS = {
    "parity": (parity, 2, 2, 1000),
    "counting": (counting, 2, 3, 1000),
    "copying": (copying, LETTERS + 2, LETTERS, 2000),
}
MODELS = {
    "LSTM": (rl.LSTM, 1),
    "GRU": (rl.GRU, 1),
    "MinGRU x1": (rl.MinGRU, 1),
    "MinGRU x2": (rl.MinGRU, 2),
    "MinLSTM x1": (rl.MinLSTM, 1),
    "MinLSTM x2": (rl.MinLSTM, 2),
    "StateSpace x1": (rl.StateSpace, 1),
    "StateSpace x2": (rl.StateSpace, 2),
    "SignedMinGRU x1": (SignedMinGRU, 1),
    "MinGRU x1 slow": (rl.MinGRU, 1),
}
SLOW = (0.0, 6.0)  # biases of that one's gates at the start, from unit to unit


def models_of(task):
    """Names of the models that a task is given to."""
    return [n for n in MODELS if task == "copying" or not n.endswith("slow")]


def layers(name, size, H):
    """The recurrent layers of a model."""
    kind, depth = MODELS[name]
    options = {"state_size": 4} if kind is rl.StateSpace else {}
    return [kind(H if k else size, H, **options) for k in range(depth)]


def build(task, name, seed, H=None):
    """Letters to vectors, recurrent layers, and two dense layers that answer."""
    _, symbols, answers, _ = TASKS[task]
    H = H or width(task, name)
    model = rl.Sequential(
        rl.Embedding(symbols, 16),
        *layers(name, 16, H),
        rl.Dense(H, 32, activation="relu"),
        rl.Dense(32, answers),
        seed=seed,
    )
    if name.endswith("slow"):
        with torch.no_grad():
            model.layers[1].b_h[:H] = torch.linspace(*SLOW, H)
    return model


def parameters(model):
    """Number of parameters of a model."""
    return sum(p.numel() for p in model.parameters())


@cache
def width(task, name):
    """Units that bring the model closest to `PARAMETERS`."""

    def gap(H):
        return abs(parameters(build(task, name, 0, H)) - PARAMETERS)

    return min(range(8, 256), key=gap)


def loss(logits, y):
    """Cross-entropy of the answers that are asked for."""
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), y.flatten(), ignore_index=IGNORED
    )


def train_one(task, name, seed, lr, steps):
    """Train one model at the trained length."""
    model, data = build(task, name, seed), TASKS[task][0]
    rng = np.random.default_rng([1, seed])
    optimizer = _run.falling(rl.Adam(model, lr=lr), steps, warmup=20)
    rl.fit(
        model,
        [data(rng, 32, TRAINED)[:2] for _ in range(steps)],
        loss=loss,
        optimizer=optimizer,
        epochs=1,
        clip=1.0,
        progress=False,
    )
    return model


def score(model, task, part, T=TRAINED, B=TESTED):
    """Share of the answers that count that are right, on new sequences."""
    rng = np.random.default_rng([2, ("validation", "test").index(part), T])
    x, y, counts = TASKS[task][0](rng, B, T)
    with torch.no_grad():
        answers = model(torch.from_numpy(x)).argmax(-1).numpy()
    return float((answers == y)[counts].mean())


def constant(task):
    """What always giving the same answer scores: the best of them."""
    x, y, counts = TASKS[task][0](np.random.default_rng(3), 4000, TRAINED)
    return float(np.bincount(y[counts]).max() / counts.sum())


def choose(task, name, steps, B):
    """The rate with the best validation score, and all of them."""
    scores = {}
    for lr in RATES:
        model = train_one(task, name, TUNING_SEED, lr, steps)
        scores[lr] = score(model, task, "validation", B=B)
    return {"lr": max(scores, key=scores.get), "validation": scores}


def measure(task, name, seed, folder, smoke):
    """Train and test one model, unless that was done before an interruption."""
    done = folder / f"seed{seed} {task} {name}.json"
    weights = done.with_suffix(".safetensors")
    if not done.exists():
        steps, B = (2, 4) if smoke else (TASKS[task][3], TESTED)
        chosen = folder / f"rate {task} {name}.json"  # of use to all seeds
        if not chosen.exists():
            chosen.write_text(json.dumps(choose(task, name, steps, B)))
        rate = json.loads(chosen.read_text())
        begin = time.perf_counter()
        model = train_one(task, name, seed, rate["lr"], steps)
        seconds = time.perf_counter() - begin
        state = _run.as_shipped(model).state_dict()
        found = {T: score(model, task, "test", T, B) for T in LENGTHS}
        checkpoint.save(weights, _run.shipped(state))
        done.write_text(json.dumps(rate | {"accuracy": found, "seconds": seconds}))
        print(task, name, seed, rate["lr"], found, flush=True)
    return json.loads(done.read_text()), checkpoint.load(weights)[0]


def train(seed, folder, smoke):
    """All models on all tasks with one seed."""
    record, arrays = {"train_seconds": 0.0, "tasks": {}}, {}
    for task in TASKS:
        record["tasks"][task] = {}
        for name in models_of(task):
            result, state = measure(task, name, seed, folder, smoke)
            record["train_seconds"] += result.pop("seconds")
            record["tasks"][task][name] = result
            if name in SHIPPED.get(task, ()):
                arrays |= {f"{task}/{name}/{k}": v for k, v in state.items()}
    return record, arrays if seed == 0 else None


def report(records):
    """What was asked, and the mean and spread over the seeds."""
    result = {
        "task": "parity, counting and selective copying, by length",
        "trained_length": TRAINED,
        "lengths": LENGTHS,
        "rates": RATES,
        "steps": {task: steps for task, (*_, steps) in TASKS.items()},
        "constant_answer": {task: constant(task) for task in TASKS},
        "models": {},
        "accuracy": {},
    }
    for name in MODELS:
        result["models"][name] = {
            "units": {task: width(task, name) for task in TASKS},
            "parameters": {task: parameters(build(task, name, 0)) for task in TASKS},
        }
    for task in TASKS:
        for name in models_of(task):
            found = [r["tasks"][task][name]["accuracy"] for r in records]
            result["accuracy"].setdefault(task, {})[name] = {
                T: _run.summary(found, T) for T in map(str, LENGTHS)
            }
    return result


if __name__ == "__main__":
    _run.main("parallel_over_time", __doc__, train, report)
