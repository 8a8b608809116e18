"""Notice what is wrong with a web site from its counters, second by second.

    python -m experiments.anomaly_detection           # 3 seeds, about 10 minutes
    python -m experiments.anomaly_detection --smoke   # seconds, nothing kept

A GRU reads twelve counters and predicts those of the next second, with a mean and a
spread for each. It learns from sites on which nothing was wrong. How far the counters
are from what it expected is the score.

Two variants are trained alike. "joint" takes the counters of a second one after
another and lets each prediction see those before it (the chain rule). "alone" predicts
each counter from the past only. Both predict 1, 10, 30 and 60 seconds ahead.

Sites 0-3 train, but for the last quarter of site 3, which says when to stop. Site 4
chooses gap, window, ridge, limit and threshold, for the rivals as for the model. Sites
5-7 are the test. Hidden size, rate and steps are the first that were tried. While the
methods were being built, scores of early versions on the test sites were printed next
to those on site 4; nothing was chosen by them.
"""

import time
from functools import partial
from itertools import product

import numpy as np
import torch
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn

from experiments import _run
from rnnlib import checkpoint
from rnnlib import torch as rl
from rnnlib.data import network_traffic

GAPS = (1, 10, 30, 60)  # seconds ahead
HIDDEN, UNITS, WARM = 64, 16, 60
UNIT = np.array(
    [1, 1, 1, 1, 50, 2_000, 1, 1, 1, 1, 1_000, 1_000]
)  # bytes, microseconds
# In which order the counters of a second are predicted: visitors first, latency last.
ORDER = (6, 9, 0, 3, 8, 4, 5, 1, 2, 7, 10, 11)
HELD_OUT = 2_700  # from this second on, site 3 is for early stopping
WINDOWS, RIDGES, LIMITS = (1, 2, 3, 5, 8, 12, 20), (0.003, 0.03, 0.1, 0.3, 1), (4, 100)
GRID = tuple(product(WINDOWS, RIDGES, LIMITS))
CALM, GRACE, BUDGET = 10, 10, 2  # seconds, seconds, false alarms an hour
FULL = {"epochs": 120, "steps": 5, "batch": 12, "length": 300, "lr": 3e-3, "every": 5}
SMOKE = {"epochs": 2, "steps": 1, "batch": 2, "length": 200, "lr": 3e-3, "every": 1}


# ------------------------------------------------------------------------- the data


def prepare(values):
    """Counters (S, T, 12) on a logarithmic scale, standardised with the training sites.

    A second without a request has no latency: the last one stays. A spread below 0.1 is
    taken for 0.1, as the errors 5xx of the training sites are all 0.
    """
    if values.ndim != 3 or values.shape[-1] != 12:
        shape = "(S, T, 12)"
        raise ValueError(f"prepare: expected counters {shape}, got {values.shape}")
    x = np.log1p(values / UNIT)
    last = np.full((len(x), 2), np.log1p(5.0))
    for t in range(x.shape[1]):
        last = np.where(values[:, t, :1] > 0, x[:, t, 10:], last)
        x[:, t, 10:] = last
    seen = np.concatenate([x[:3].reshape(-1, 12), x[3, :HELD_OUT]])
    return (x - seen.mean(0)) / np.maximum(seen.std(0), 0.1)


def normal(a):
    """The rows of (8, T, ...) by which all is fitted, without the first 100 s."""
    rows = a[:3, 100:].reshape(-1, *a.shape[2:])
    return np.concatenate([rows, a[3, 100:HELD_OUT]])


# ------------------------------------------------------------------------ the model


class Predictor(nn.Module):
    """A GRU that predicts the counters of a second from those some seconds before.

    With ``joint``, each counter's prediction sees those before it in ORDER as well.
    """

    def __init__(self, seed, joint=True, hidden=HIDDEN):
        super().__init__()
        torch.manual_seed(seed)
        self.gru = rl.GRU(12, hidden, seed=seed)
        self.dropout = nn.Dropout(0.1)
        self.past = nn.Linear(hidden, 12 * UNITS)
        self.present = nn.Linear(12, 12 * UNITS, bias=False)
        self.gap = nn.Parameter(torch.zeros(len(GAPS), 12 * UNITS))
        self.out = nn.Parameter(0.1 * torch.randn(12, UNITS, 2))
        self.bias = nn.Parameter(torch.zeros(12, 2))
        allowed = torch.zeros(12, UNITS, 12)
        for i, k in enumerate(ORDER):
            allowed[k][:, list(ORDER[:i])] = float(joint)
        self.register_buffer("allowed", allowed.reshape(-1, 12), persistent=False)

    def load_state_dict(self, state, **options):
        state = {k: torch.as_tensor(v) for k, v in state.items()}
        return super().load_state_dict(state, **options)

    def read(self, h, y, gap):
        """Mean and variance (..., 12) of counters ``y`` from the state ``h``."""
        seen = nn.functional.linear(y, self.present.weight * self.allowed)
        u = torch.relu(self.past(self.dropout(h)) + seen + self.gap[gap])
        u = u.unflatten(-1, (12, UNITS))
        mean, spread = (
            torch.einsum("...ku,kuo->...ko", u, self.out) + self.bias
        ).unbind(-1)
        return mean, 0.01 + nn.functional.softplus(spread)

    def forward(self, x, lengths=None):
        """Counters (B, T, 12) to mean and variance for each gap, (B, T, 4, 2, 12)."""
        x = x.clamp(-6, 6)
        h, _ = self.gru(x)
        found = []
        for k, gap in enumerate(GAPS):
            before = nn.functional.pad(h, (0, 0, gap, 0))[:, : x.shape[1]]
            found.append(torch.stack(self.read(before, x, k), -2))
        return torch.stack(found, 2)


def build(seed, joint=True):
    """The model of the chapter."""
    return Predictor(seed, joint)


def surprise(found, y):
    """Gaussian negative log-likelihood of each counter, in nats, without a constant."""
    mean, variance = found.unbind(-2)
    y = y.clamp(-6, 6)[:, :, None]
    return 0.5 * ((y - mean) ** 2 / variance + variance.log())


def loss(found, y):
    """Mean surprise after the first minute."""
    return surprise(found, y)[:, WARM:].mean()


class Windows:
    """Batches of windows of the training sites; one iteration is an epoch."""

    def __init__(self, x, seed, steps, batch, length, **_):
        self.x, self.seed, self.epoch = x.astype(np.float32), seed, 0
        self.steps, self.batch, self.length = steps, batch, length

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        rng = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        for _ in range(self.steps):
            rows = []
            for site in rng.integers(4, size=self.batch):
                end = HELD_OUT if site == 3 else self.x.shape[1]
                start = rng.integers(end - self.length + 1)
                rows.append(self.x[site, start : start + self.length])
            rows = np.array(rows)
            yield rows, rows


def fit(model, x, seed, setting, file):
    """Train, and keep the weights that were best on the held-out quarter; resumable."""
    steps = setting["epochs"] * setting["steps"]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=setting["lr"], weight_decay=0.01
    )
    _run.falling(optimizer, steps, warmup=10)
    held = x[3:4, HELD_OUT - WARM :].astype(np.float32)
    best, kept = np.inf, file.with_name(f"{file.stem}-best.safetensors")
    if kept.exists():
        best = float(checkpoint.load(kept)[0]["held_out"][0])
    for epoch in range(setting["every"], setting["epochs"] + 1, setting["every"]):
        history = rl.fit(
            model,
            Windows(x, seed, **setting),
            loss=loss,
            optimizer=optimizer,
            epochs=epoch,
            clip=1.0,
            progress=False,
            checkpoint=file,
            resume=True,
        )
        model.eval()
        value = float(rl.evaluate(model, [(held, held)], loss=loss))
        model.train()
        if value < best:
            best = value
            arrays = {k: v.numpy() for k, v in model.state_dict().items()}
            checkpoint.save(kept, arrays | {"held_out": np.array([best])})
    arrays, _ = checkpoint.load(kept)
    arrays.pop("held_out")
    model.load_state_dict(arrays)
    model.eval()
    return best, history


def residuals(model, x):
    """How many spreads each counter is off, for each gap, (4, S, T, 12)."""
    with torch.no_grad():
        found = model(torch.as_tensor(x, dtype=torch.float32)).double().numpy()
    r = (x[:, :, None] - found[..., 0, :]) / np.sqrt(found[..., 1, :])
    r = np.moveaxis(r, 2, 0)
    for k, gap in enumerate(GAPS):
        r[k, :, :gap] = 0
    return r


# ------------------------------------------------------------------------ the score


def smooth(a, window):
    """Mean of the last ``window`` seconds along axis 1."""
    total = np.cumsum(a, axis=1)
    total[:, window:] -= total[:, :-window].copy()
    count = np.minimum(np.arange(1, a.shape[1] + 1), window)
    return total / count.reshape(1, -1, *[1] * (a.ndim - 2))


def limited(r, limit):
    """Residuals over their usual spread, none beyond the limit."""
    return np.clip(r / np.maximum(normal(r).std(0), 0.1), -limit, limit)


def distance(r, how, window, ridge, limit, sites=slice(None)):
    """Score (S, T) of residuals (8, T, 12), after smoothing, against normal seconds.

    ``how``: "joint", the Mahalanobis distance squared, with a ridge on the covariance;
    "sum", the sum of squares; "max", the largest of the twelve.
    """
    r = smooth(limited(r, limit), window)
    seen = normal(r)
    d = r[sites] - seen.mean(0)
    C = np.cov(seen.T)
    mean = np.trace(C) / 12
    if how == "joint":
        P = np.linalg.inv(C + ridge * mean * np.eye(12))
        return np.einsum("stk,kl,stl->st", d, P, d)
    z = d**2 / (np.diag(C) + ridge * mean)
    return z.max(-1) if how == "max" else z.sum(-1)


def tune(candidates, labels, how="joint", grid=GRID):
    """Try all on site 4; returns the best's settings, AP there, and score (8, T).

    ``candidates`` are pairs of a name and residuals (8, T, 12).
    """
    best = max(
        (
            (
                average_precision_score(
                    labels[4], distance(r, how, *g, slice(4, 5))[0]
                ),
                k,
                g,
            )
            for k, (_, r) in enumerate(candidates)
            for g in grid
        ),
        key=lambda found: found[0],
    )
    value, k, (window, ridge, limit) = best
    name, r = candidates[k]
    settings = {"of": name, "window": window, "ridge": ridge, "limit": limit}
    return settings, value, distance(r, how, window, ridge, limit)


# ---------------------------------------------------------------------- the measures


def alarms(above):
    """(start, stop) of the alarms of one site; a pause under CALM seconds is none."""
    found = []
    for t in np.flatnonzero(above):
        if found and t - found[-1][1] < CALM:
            found[-1][1] = int(t) + 1
        else:
            found.append([int(t), int(t) + 1])
    return found


def faults_of(names):
    """(kind, start, stop) of the faults of one site."""
    edges = np.flatnonzero(np.r_[True, names[1:] != names[:-1], True])
    return [
        (str(names[a]), int(a), int(b))
        for a, b in zip(edges, edges[1:], strict=False)
        if names[a]
    ]


def events(score, names, threshold):
    """Faults found with their delays, and alarms that are right or false.

    An alarm is right if it overlaps a fault, or the GRACE seconds after one.
    """
    found, right, false = [], 0, 0
    for site in range(len(score)):
        above = score[site] >= threshold
        faults = faults_of(names[site])
        for kind, start, stop in faults:
            when = np.flatnonzero(above[start:stop])
            delay = int(when[0]) if len(when) else None
            found.append({"site": site, "kind": kind, "start": start, "delay": delay})
        for a, b in alarms(above):
            hit = any(a < stop + GRACE and b > start for _, start, stop in faults)
            right, false = right + hit, false + (not hit)
    return found, right, false


def threshold_of(score, names):
    """The lowest threshold with at most BUDGET false alarms in site 4's hour."""
    low = np.quantile(score, np.linspace(0.5, 1, 501))
    for threshold in low:
        if (
            events(score, names, threshold)[2] <= BUDGET
            and (score >= threshold).mean() < 0.5
        ):
            return float(threshold)
    return float(low[-1])


def f1(precision, recall):
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def measure(score, names):
    """Everything on the test sites, with the threshold of site 4."""
    labels = names != ""
    test, right = score[5:], labels[5:]
    threshold = threshold_of(score[4:5], names[4:5])
    above = test >= threshold
    found, hits, false = events(test, names[5:], threshold)
    recall = np.mean([e["delay"] is not None for e in found])
    precision = hits / max(hits + false, 1)
    kinds = {}
    for kind in sorted({e["kind"] for e in found}):
        of = [e["delay"] for e in found if e["kind"] == kind]
        delays = [d for d in of if d is not None]
        rows = (names[5:] == kind) | ~right
        kinds[kind] = {
            "faults": len(of),
            "found": len(delays),
            "median_delay": float(np.median(delays)) if delays else None,
            "seconds": float(above[names[5:] == kind].mean()),
            "ap": float(average_precision_score(right[rows], test[rows])),
        }
    return {
        "ap": float(average_precision_score(right.ravel(), test.ravel())),
        "auroc": float(roc_auc_score(right.ravel(), test.ravel())),
        "threshold": threshold,
        "second_precision": float(right[above].mean()),
        "second_recall": float(above[right].mean()),
        "event_precision": float(precision),
        "event_recall": float(recall),
        "event_f1": f1(precision, recall),
        "false_alarms_per_hour": false / (test.size / 3600),
        "median_delay": float(
            np.median([e["delay"] for e in found if e["delay"] is not None] or [0])
        ),
        "kinds": kinds,
    }


def adjusted_f1(score, names):
    """Best F1 per second, as it is and after point adjustment, over all thresholds."""
    labels = names != ""
    best = [0.0, 0.0]
    for threshold in np.quantile(score, np.linspace(0, 1, 400)):
        above = score >= threshold
        adjusted = above.copy()
        for site in range(len(score)):
            for _, a, b in faults_of(names[site]):
                adjusted[site, a:b] |= above[site, a:b].any()
        for k, a in enumerate((above, adjusted)):
            precision, recall = labels[a].mean() if a.any() else 0, a[labels].mean()
            best[k] = max(best[k], f1(precision, recall))
    return {"plain": best[0], "adjusted": best[1]}


def blocks(names):
    """Pieces of the test sites, (site, start, stop), each with one fault inside."""
    found = []
    for site in range(len(names)):
        faults = faults_of(names[site])
        cuts = [(a[2] + b[1]) // 2 for a, b in zip(faults, faults[1:], strict=False)]
        cuts = [0, *cuts, names.shape[1]]
        found += [(site, a, b) for a, b in zip(cuts, cuts[1:], strict=False)]
    return found


def bootstrap(score, rival, names, draws):
    """Quantiles of the gain in average precision, over blocks drawn anew."""
    labels, rng = names != "", np.random.default_rng(0)
    parts = blocks(names)
    gains = []
    for _ in range(draws):
        chosen = [parts[k] for k in rng.integers(len(parts), size=len(parts))]
        y, a, b = (
            np.concatenate([v[s, i:j] for s, i, j in chosen])
            for v in (labels, score, rival)
        )
        gains.append(average_precision_score(y, a) - average_precision_score(y, b))
    low, middle, high = np.quantile(gains, [0.025, 0.5, 0.975])
    return {
        "low": float(low),
        "median": float(middle),
        "high": float(high),
        "std": float(np.std(gains)),
    }


# ------------------------------------------------------------------------ the rivals


def before(x, p, gap):
    """The p seconds that are ``gap`` or more before each, (S, T, p, 12)."""
    X = np.zeros((*x.shape[:2], p, 12))
    for j in range(p):
        X[:, gap + j :, j] = x[:, : -gap - j]
    return X


def var(x, p, gap, each=False):
    """Residuals of a ridge regression on the past: of all counters, or of each."""
    X = before(np.clip(x, -6, 6), p, gap)
    if not each:
        X = X.reshape(*x.shape[:2], -1)
        A = normal(X)
        R = 300 * np.eye(A.shape[1])
        return x - X @ np.linalg.solve(A.T @ A + R, A.T @ normal(x))
    r = np.empty_like(x)
    for k in range(12):
        A = normal(X[..., k])
        W = np.linalg.solve(A.T @ A + 100 * np.eye(p), A.T @ normal(x)[:, k])
        r[..., k] = x[..., k] - X[..., k] @ W
    return r


def ewma(x, rate):
    """What is left when an exponential mean of the past is taken off."""
    r, mean = np.empty_like(x), np.zeros((len(x), 12))
    for t in range(x.shape[1]):
        r[:, t] = x[:, t] - mean
        mean = (1 - rate) * mean + rate * x[:, t]
    return r


def forest(x, labels, windows=WINDOWS):
    """Isolation forest on smoothed counters; its window is chosen on site 4."""
    best = None
    for window in windows:
        a = smooth(np.clip(x, -6, 6), window)
        model = IsolationForest(random_state=0).fit(normal(a)[::4])
        score = -model.score_samples(a[4:].reshape(-1, 12)).reshape(4, -1)
        value = average_precision_score(labels[4], score[0])
        if best is None or value > best[1]:
            full = np.r_[np.zeros((4, a.shape[1])), score]
            best = {"of": "counters", "window": window}, value, full
    return best


def rivals(x, labels, search, smoke):
    """All rivals, as name: (settings, AP on site 4, score (8, T), seconds)."""
    rates = (0.1,) if smoke else (0.3, 0.1, 0.03, 0.01, 0.003)
    gaps = (60,) if smoke else (1, 10, 60)
    orders = (2,) if smoke else (5, 10)

    def ar():
        return [(f"gap {g}", var(x, 20, g, each=True)) for g in gaps]

    found = {}
    for name, run in {
        "z-score, largest": lambda: search([("counters", x)], labels, "max"),
        "z-score, sum of squares": lambda: search([("counters", x)], labels, "sum"),
        "Mahalanobis": lambda: search([("counters", x)], labels),
        "EWMA residual": lambda: search(
            [(f"rate {rate}", ewma(x, rate)) for rate in rates], labels, "sum"
        ),
        "AR residual": lambda: search(ar(), labels, "sum"),
        "EWMA residual, Mahalanobis": lambda: search(
            [(f"rate {rate}", ewma(x, rate)) for rate in rates], labels
        ),
        "AR residual, Mahalanobis": lambda: search(ar(), labels),
        "VAR residual, Mahalanobis": lambda: search(
            [(f"order {p}, gap {g}", var(x, p, g)) for p in orders for g in gaps],
            labels,
        ),
        "isolation forest": lambda: forest(
            x, labels, WINDOWS[:2] if smoke else WINDOWS
        ),
    }.items():
        begin = time.perf_counter()
        result = run()
        found[name] = (*result, time.perf_counter() - begin)
    return found


# -------------------------------------------------------------------- the experiment


def frozen(model, x, limit):
    """Residuals one second ahead when what surprises is not read, (S, T, 12).

    Where the mean square of a second's residuals is over the limit, the state goes on
    with the prediction in the place of what was seen. Only for the variant "alone".
    """
    x = torch.as_tensor(x, dtype=torch.float32)
    h = x.new_zeros(len(x), HIDDEN)
    r, share = np.zeros(x.shape), 0.0
    with torch.no_grad():
        for t in range(x.shape[1]):
            mean, variance = model.read(h, x[:, t], 0)
            d = (x[:, t] - mean) / variance.sqrt()
            odd = (d.clamp(-4, 4) ** 2).mean(-1, keepdim=True) > limit
            seen = torch.where(odd, mean, x[:, t]).clamp(-6, 6)
            share += odd.float().mean().item() / x.shape[1]
            h = model.gru(seen[:, None], h)[1]
            r[:, t] = d.numpy()
    r[:, 0] = 0
    return r, share


def cumulative(r, window, allowed):
    """Sum of what each second's mean square has over the allowed, never below 0."""
    s = smooth((limited(r, 4) ** 2).mean(-1), window)
    s = s - np.quantile(normal(s[..., None]), allowed)
    total = np.zeros(s.shape)
    for t in range(1, s.shape[1]):
        total[:, t] = np.maximum(0, total[:, t - 1] + s[:, t])
    return np.minimum(total, 1e3)


def cures(model, r, x, labels, search, smoke):
    """Average precision of the variant "alone", as it is and with what is tried."""
    found = {}

    def keep(name, value, score, settings):
        found[name] = {
            "validation": float(value),
            "ap": float(average_precision_score(labels[5:].ravel(), score[5:].ravel())),
        } | settings

    for k, gap in enumerate(GAPS):
        settings, value, score = search([(f"gap {gap}", r[k])], labels, "sum")
        keep(f"gap {gap}", value, score, settings)
    candidates, read = [], {}
    for limit in (2.0,) if smoke else (1.5, 2.0, 3.0):
        left, share = frozen(model, x, limit)
        candidates.append((f"over {limit}", left))
        read[f"over {limit}"] = share
    settings, value, score = search(candidates, labels, "sum")
    keep("frozen", value, score, settings | {"not_read": read[settings["of"]]})
    best = max(
        (
            (average_precision_score(labels[4], c[4]), allowed, c)
            for allowed in (0.9, 0.95, 0.98, 0.99, 0.995)
            for c in [cumulative(r[0], 1, allowed)]
        ),
        key=lambda t: t[0],
    )
    keep("cumulative", best[0], best[2], {"allowed": best[1]})
    return found


def train(seed, folder, smoke):
    """Both variants, then what they are worth, and what the rivals are."""
    setting, data = (SMOKE if smoke else FULL), network_traffic()
    x, names = prepare(data.values), data.fault
    labels = names != ""
    search = partial(tune, grid=GRID[:4] if smoke else GRID)
    record, arrays, seconds = {"parameters": 0}, {}, 0.0
    for variant in ("joint", "alone"):
        model = build(seed, joint=variant == "joint")
        file = folder / f"seed{seed}-{variant}.safetensors"
        held_out, history = fit(model, x, seed, setting, file)
        seconds += sum(history.seconds)
        _run.as_shipped(model)
        r = residuals(model, x)
        settings, value, score = search(
            [(f"gap {g}", r[k]) for k, g in enumerate(GAPS)], labels
        )
        record[variant] = {
            "held_out": held_out,
            "loss": history.loss[:: max(1, len(history.loss) // 60)],
            "seconds": sum(history.seconds),
            "settings": settings,
            "validation": float(value),
            "gaps": {
                str(g): float(
                    average_precision_score(labels[5:].ravel(), s[5:].ravel())
                )
                for k, g in enumerate(GAPS)
                for s in [search([("", r[k])], labels)[2]]
            },
        } | measure(score, names)
        arrays |= {f"{variant}.{k}": v for k, v in model.state_dict().items()}
        if variant == "joint":
            ours = score
            record["parameters"] = sum(p.numel() for p in model.parameters())
        else:
            record["cures"] = cures(model, r, x, labels, search, smoke)
    record["ap"], record["train_seconds"] = record["joint"]["ap"], seconds
    found = rivals(x, labels, search, smoke)
    best = max(found, key=lambda name: found[name][1])  # on validation
    record["best_on_validation"] = best
    record["rivals"] = {
        name: {"settings": s, "validation": float(v), "seconds": t} | measure(c, names)
        for name, (s, v, c, t) in found.items()
    }
    draws = 20 if smoke else 1_000
    record["gain"] = {
        name: bootstrap(ours[5:], found[name][2][5:], names[5:], draws)
        for name in {best, max(found, key=lambda k: record["rivals"][k]["ap"])}
    }
    chance = np.random.default_rng(seed).random(x.shape[:2])
    record["point_adjust"] = {
        "joint": adjusted_f1(ours[5:], names[5:]),
        "random": adjusted_f1(chance[5:], names[5:]),
        best: adjusted_f1(found[best][2][5:], names[5:]),
    }
    return record, arrays if seed == 0 else None


def report(records):
    """What the JSON says beside the seeds."""
    score = _run.summary(records, "ap")
    found = records[0]["rivals"]
    best = max(found, key=lambda name: found[name]["ap"])
    target = found[best]["ap"]
    lead = score["mean"] - target
    gain = [r["gain"][best] for r in records]
    sure = all(g["low"] > 0 for g in gain) or all(g["high"] < 0 for g in gain)
    verdict = (
        f"The GRU reaches an average precision of {score['mean']:.3f}, "
        f"{abs(lead):.3f} {'above' if lead > 0 else 'below'} the best rival ({best})"
    )
    verdict += "." if sure else "; by the paired bootstrap over faults that is a tie."
    return {
        "application": "Anomaly detection",
        "task": "say second by second whether a web site's traffic is as usual",
        "test": "3 sites x 3,600 s with 55 faults of 6 kinds, never seen in training",
        "metric": "average precision",
        "better": "higher",
        "target": target,
        "parameters": records[0]["parameters"],
        "rivals": {
            name: {"score": r["ap"], "seconds": r["seconds"]}
            for name, r in found.items()
        },
        "score": score,
        "alone": _run.summary([r["alone"] for r in records], "ap"),
        "settings": FULL,
        "verdict": verdict,
    }


if __name__ == "__main__":
    _run.main("anomaly_detection", __doc__, train, report)
