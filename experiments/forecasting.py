"""Forecast tomorrow's electricity demand at midnight, half-hour by half-hour.

    python -m experiments.forecasting           # 3 seeds, about 3 minutes each
    python -m experiments.forecasting --smoke   # seconds, nothing kept

A GRU reads weather and calendar and says which demand belongs to them. Where it was
wrong on the days before is known at midnight; a small linear layer carries these errors
over to tomorrow. The forecast is direct, all 48 half-hours at once, with seven
quantiles. Two variants: "without" tomorrow's temperature, where the GRU reads what a
ridge expects it to be, and "with" the temperature that was measured in the end, which
nobody has at midnight: a bound on what a weather forecast can give.

The network is the mean of three members. Its size, dropout, noise, decay and steps were
looked at on the validation days, trained on the days before them: four settings, of
which the second was taken, because heavy regularisation helped most (one member: 0.141
GW without, 0.114 with). Five settings of a bidirectional GRU over the day itself were
tried before: much worse without (0.158 at best, stopped early), a little better with
(0.110 at best). One design was taken for both. The test's networks are trained on
training and validation days, with the settings as they were.

The ridge has two versions. "All" has every block of inputs at equal weight. The blocks'
weights of "chosen" were found by 5-fold cross-validation in the 305 days. Its penalty
is chosen on the validation days. Both were looked at on the test before: the first
because it is the rival this chapter started with. Nothing was changed after that.
"""

import math
import time

import numpy as np
import torch
from torch import nn

from experiments import _run
from rnnlib import checkpoint
from rnnlib import torch as rl
from rnnlib.data import electricity

FIRST = 8  # the first day that has all its lags
VALIDATION, TEST = (245, 305), (305, 365)  # days; trained on all days before
WINDOWS = {"May-Jul": (125, 185), "Jul-Sep": (185, 245)}  # the walk begins here
VARIANTS = ("without", "with")
QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
MIDDLE = QUANTILES.index(0.5)
WARM, HIDDEN, DROPOUT, NOISE = 24, 24, 0.5, 0.3
LAGS = (1, 2, 3, 7)
FULL = {"members": 3, "steps": 150, "lr": 1e-2, "decay": 0.3}
SMOKE = {"members": 1, "steps": 3, "lr": 1e-2, "decay": 0.3}

year = electricity()
DEMAND = year.demand.reshape(365, 48)
HEAT = year.temperature.reshape(365, 48)
WORKDAY = year.workday.reshape(365, 48)[:, 0]
WEEKDAY = (np.arange(365) + 2) % 7  # 0 is Monday
KIND = np.where(WORKDAY, 0, np.where(WEEKDAY == 5, 1, 2))  # workday, Saturday, rest
SAME = np.array(  # the last day of the same kind
    [max((j for j in range(d) if KIND[j] == KIND[d]), default=0) for d in range(365)]
)


# ------------------------------------------------------------------------- the ridges

ALPHAS = (30, 100, 300, 1000, 3000, 10_000)
EVERYTHING = dict.fromkeys(
    "d1 d2 d3 d4 d5 d6 d7 d8 same t1 t2 t-same t-run calendar level shape t1^2 "
    "T T^2 T-day T-change T-kind".split(),
    1.0,
)
CHOSEN = {
    "without": {"d1": 9, "d2": 0.9, "same": 3, "d6": 0.3, "d8": 1, "t1": 0.3}
    | {"t-run": 1, "calendar": 0.3, "level": 1, "shape": 1, "t1^2": 1},
    "with": {"d1": 3, "d2": 3, "same": 3, "d8": 1, "t-run": 1, "calendar": 1}
    | {"level": 1, "shape": 1, "t1^2": 1, "T": 1, "T^2": 3},
}


def degrees(t):
    """Temperature, and how far it is above and below 18 degrees."""
    return np.concatenate([t, np.maximum(t - 18, 0), np.maximum(18 - t, 0)], 1)


def by_kind(kinds, x):
    """Every column once for each kind of day, zero on the other days."""
    return (kinds[:, :, None] * x[:, None]).reshape(len(x), -1)


def blocks(d, known):
    """Blocks of inputs (days, columns) of the days `d`; T blocks only if `known`."""
    kind, before = np.eye(3)[KIND[d]], np.eye(3)[KIND[d - 1]]
    pair = by_kind(kind, before)
    run = sum(0.6**k * HEAT[d - k].mean(1) for k in range(1, 6))
    state = [DEMAND[d - 1].mean(1), DEMAND[d - 1, -6:].mean(1), HEAT[d - 1].mean(1)]
    found = {f"d{k}": DEMAND[d - k] for k in range(1, 9)} | {
        "same": DEMAND[SAME[d]],
        "t1": degrees(HEAT[d - 1]),
        "t2": degrees(HEAT[d - 2]),
        "t-same": degrees(HEAT[SAME[d]]),
        "t-run": run[:, None],
        "calendar": np.concatenate([np.eye(7)[WEEKDAY[d]], kind, pair], 1),
        "level": by_kind(pair, np.stack(state, 1)),
        "shape": by_kind(pair, DEMAND[d - 1].reshape(-1, 24, 2).mean(2)),
        "t1^2": degrees(HEAT[d - 1])[:, 48:] ** 2,
    }
    if known:
        T = degrees(HEAT[d])
        days = T.reshape(len(d), 3, 48)
        hot = days[:, 1].mean(1)
        day = [*days.mean(2).T, hot**2, HEAT[d].max(1), HEAT[d].min(1)]
        found |= {
            "T": T,
            "T^2": T[:, 48:] ** 2,
            "T-day": np.stack(day, 1),
            "T-change": T - degrees(HEAT[d - 1]),
            "T-kind": by_kind(kind, degrees(HEAT[d].reshape(-1, 12, 4).mean(2))),
        }
    return found


def ridge(fitted, days, variant, weights, alpha):
    """Fit the change from yesterday on some days, forecast others: (days, 48)."""
    known = variant == "with"
    mine, new, x, x_new = blocks(fitted, known), blocks(days, known), [], []
    for name, weight in weights.items():
        if name in mine:
            a, b = mine[name], new[name]
            mean, std = a.mean(0), a.std(0) + 0.05 * a.std() + 1e-6
            scale = math.sqrt(weight * 48 / math.sqrt(a.shape[1]))
            x.append(scale * (a - mean) / std)
            x_new.append(scale * (b - mean) / std)
    x, x_new = np.concatenate(x, 1), np.concatenate(x_new, 1)
    change = DEMAND[fitted] - DEMAND[fitted - 1]
    mean = change.mean(0)
    dual = np.linalg.solve(x @ x.T + alpha * np.eye(len(x)), change - mean)
    return DEMAND[days - 1] + mean + x_new @ (x.T @ dual)


def choose_alpha(variant, weights):
    """The largest penalty within a standard error of the best on validation."""
    fitted, days = np.arange(FIRST, VALIDATION[0]), np.arange(*VALIDATION)
    errors = np.array(
        [by_day(ridge(fitted, days, variant, weights, a), days) for a in ALPHAS]
    )
    best = errors.mean(1).argmin()
    extra = errors - errors[best]
    allowed = extra.mean(1) <= extra.std(1, ddof=1) / math.sqrt(len(days))
    allowed[best] = True
    return max(a for a, ok in zip(ALPHAS, allowed, strict=True) if ok)


def by_day(forecast, days):
    """Mean absolute error of each day, in gigawatts."""
    return np.abs(forecast - DEMAND[days]).mean(1)


def rivals(window):
    """Forecasts (60, 48) of every rival for each variant, with seconds."""
    days, fitted, found = np.arange(*window), np.arange(FIRST, window[0]), {}
    for variant in VARIANTS:
        rows = {
            "yesterday": (DEMAND[days - 1], 0.0),
            "a week ago": (DEMAND[days - 7], 0.0),
            "last day of the same kind": (DEMAND[SAME[days]], 0.0),
        }
        versions = {"all": EVERYTHING, "chosen": CHOSEN[variant]}
        for name, weights in versions.items():
            begin = time.perf_counter()
            alpha = choose_alpha(variant, weights)
            forecast = ridge(fitted, days, variant, weights, alpha)
            rows[f"ridge, {name}"] = forecast, time.perf_counter() - begin
        pair = [rows[f"ridge, {name}"] for name in versions]
        rows["both ridges"] = sum(r[0] for r in pair) / 2, sum(r[1] for r in pair)
        found[variant] = rows
    return found


# ------------------------------------------------------------------------ the network


def remembered(heat, hours):
    """Running mean of temperature (365, 48), each day going on from the true past."""
    keep = 0.5 ** (0.5 / hours)
    now, out = HEAT[0, 0], np.empty_like(heat)
    for d in range(365):
        guess = now
        for s in range(48):
            now = keep * now + (1 - keep) * HEAT[d, s]
            guess = keep * guess + (1 - keep) * heat[d, s]
            out[d, s] = guess
    return out


def weather(heat):
    """Five inputs made of temperature, (365, 48, 5)."""
    slow = [(remembered(heat, hours) - 16) / 6 for hours in (12, 48)]
    hot, cold = np.maximum(heat - 20, 0) / 6, np.maximum(15 - heat, 0) / 6
    return np.stack([(heat - 16) / 6, hot, cold, *slow], -1)


def calendar():
    """What the GRU knows of the day (365, 48, 14), and the mixing layer (365, 48, 15).

    Neither holds the date: see `time_of_year`.
    """
    angle = 2 * np.pi * np.arange(48) / 48
    hour = np.stack([f(k * angle) for k in (1, 2, 3) for f in (np.sin, np.cos)], -1)
    kind = np.eye(3)[KIND]
    before = np.roll(kind, 1, 0)
    after = np.roll(kind, -1, 0)  # 1 January is a holiday in 2015 as well
    holiday = ~WORKDAY & (WEEKDAY < 5)
    columns = [before[:, 0], after[:, 0], holiday, WEEKDAY == 0, WEEKDAY == 4]
    day = np.concatenate([kind, np.stack(columns, 1)], 1)

    def with_hour(x):
        x = np.repeat(x[:, None], 48, 1)
        return np.concatenate([x, np.repeat(hour[None], 365, 0)], -1)

    return with_hour(day), with_hour(by_kind(kind, before))


def time_of_year():
    """The date as ten harmonics of the year, (365, 48, 20): the leak of the chapter."""
    angle = 2 * np.pi * np.arange(365 * 48).reshape(365, 48) / (365 * 48)
    return np.stack([f(k * angle) for k in range(1, 11) for f in (np.sin, np.cos)], -1)


def expected_heat(n, folds=10, alpha=3000):
    """What a ridge expects each day's temperature to be at midnight, (365, 48).

    A day among the first `n` is not among those that its own ridge was fitted on.
    """

    def inputs(d):
        mean = np.repeat(HEAT[d - 1].mean(1, keepdims=True), 10, 1)
        past = [HEAT[d - k] for k in (1, 2, 3)]
        return np.concatenate([*past, 3 * DEMAND[d - 1], mean, 2 * HEAT[d - 1, -8:]], 1)

    def forecast(fitted, d):
        x, change = inputs(fitted), HEAT[fitted] - HEAT[fitted - 1]
        x_mean, mean = x.mean(0), change.mean(0)
        x = x - x_mean
        dual = np.linalg.solve(x @ x.T + alpha * np.eye(len(x)), change - mean)
        return HEAT[d - 1] + mean + (inputs(d) - x_mean) @ (x.T @ dual)

    days, out = np.arange(3, n), HEAT.copy()
    for fold in np.array_split(days, folds):
        out[fold] = forecast(np.setdiff1d(days, fold), fold)
    if n < 365:
        rest = np.arange(n, 365)
        out[rest] = forecast(days, rest)
    return out


class Series:
    """All tensors of a variant, scaled by the first `n` days."""

    def __init__(self, variant, n, date=False):
        days, mixing = calendar()
        if date:
            days = np.concatenate([days, time_of_year()], -1)
        known = variant == "with"
        true = np.concatenate([weather(HEAT), days], -1)
        seen = true
        if not known:
            seen = np.concatenate([weather(expected_heat(n)), days], -1)
        evening = np.roll(true, 1, 0)[:, -WARM:]  # of the day before
        x, x_seen = (np.concatenate([evening, a], 1) for a in (true, seen))
        mean = x[FIRST:n].mean((0, 1))
        std = x[FIRST:n].std((0, 1)) + 0.1
        self.mean, self.std = DEMAND[:n].mean(), DEMAND[:n].std()
        self.x = torch.tensor((x - mean) / std, dtype=torch.float32)
        self.seen = torch.tensor((x_seen - mean) / std, dtype=torch.float32)
        self.mixing = torch.tensor(mixing, dtype=torch.float32)
        self.y = torch.tensor((DEMAND - self.mean) / self.std, dtype=torch.float32)
        self.known, self.n = known, n

    def first(self, n, noise=0.0):
        """Tensors of the first `n` days, with noise on the five weather inputs."""
        noise = noise * (
            torch.randn(n, 1, 5) + torch.randn(n, WARM + 48, 5) if noise else 0.0
        )
        x = self.x[:n].clone()
        x[..., :5] += noise
        seen = x
        if not self.known:
            seen = self.seen[:n].clone()
            seen[..., :5] += noise
        return x, seen, self.mixing[:n], self.y[:n]


class Forecaster(nn.Module):
    """Weather and calendar in, seven quantiles of demand out.

    The demand of earlier days enters through the errors of the GRU on these days only.
    """

    def __init__(self, inputs, mixing, seed):
        super().__init__()
        rng = np.random.default_rng(seed)
        self.gru = rl.GRU(inputs, HIDDEN, seed=rng)
        self.dropout = nn.Dropout(DROPOUT)
        self.output = rl.Dense(HIDDEN, len(QUANTILES), seed=rng)
        self.linear = rl.Dense(inputs, 1, seed=rng)
        self.mix = rl.Dense(mixing, len(LAGS) + 3, seed=rng)
        with torch.no_grad():  # begin near the mean of the errors of like days
            self.mix.W.mul_(0.1)
            self.mix.b[:] = torch.tensor([0.3, 0, 0, 0.2, 0.3, 0, 0])

    def load_state_dict(self, state, **options):
        """Take weights from NumPy arrays as well: a file holds such."""
        state = {k: torch.as_tensor(v) for k, v in state.items()}
        return super().load_state_dict(state, **options)

    def explain(self, x):
        """Demand of this weather and calendar (D, 48), and widths (D, 48, 6)."""
        h = self.dropout(self.gru(x)[0][:, WARM:])
        out = self.output(h)
        demand = out[..., MIDDLE] + self.linear(x[:, WARM:])[..., 0]
        sides = torch.cat([out[..., :MIDDLE], out[..., MIDDLE + 1 :]], -1)
        return demand, 0.15 * nn.functional.softplus(sides)

    def carried(self, errors, mixing):
        """What the errors of earlier days (D, 48) add to each forecast, (D, 48)."""
        day = torch.arange(len(errors))
        past = [errors[(day - k) % len(day)] for k in LAGS]
        past.append(errors[torch.from_numpy(SAME[: len(day)])])
        past.append(past[0][:, -4:].mean(1, keepdim=True).expand(-1, 48))
        past.append(past[0].mean(1, keepdim=True).expand(-1, 48))
        return (self.mix(mixing) * torch.stack(past, -1)).sum(-1)

    def forward(self, x, seen, mixing, y):
        """Quantiles (D, 48, 7), and what weather and calendar alone say (D, 48)."""
        told, width = self.explain(x)
        start, width = (told, width) if seen is x else self.explain(seen)
        middle = start + self.carried(y - told, mixing)
        below, above = width.split(MIDDLE, -1)
        below = below.flip(-1).cumsum(-1).flip(-1)
        middle = middle[..., None]
        return torch.cat([middle - below, middle, middle + above.cumsum(-1)], -1), told


def build(seed, inputs=19, mixing=15):
    """The model of the chapter (one member of three)."""
    return Forecaster(inputs, mixing, seed)


def pinball(q, y):
    """Mean quantile loss, times 2: at the median it is the absolute error."""
    level = torch.tensor(QUANTILES)
    over = y[..., None] - q
    return 2 * torch.maximum(level * over, (level - 1) * over).mean()


def fit(variant, n, seed, setting, file, date=False):
    """Train one member on the first `n` days; returns it, its series, its seconds."""
    series = Series(variant, n, date)
    model = build(seed, series.x.shape[-1])
    if file.exists():
        stored, _ = checkpoint.load(file)
        seconds = float(stored.pop("seconds")[0])
        model.load_state_dict(stored)
        return model.eval(), series, seconds
    torch.manual_seed(seed)
    begin, steps = time.perf_counter(), setting["steps"]
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=setting["lr"],
        weight_decay=setting["decay"],
        betas=(0.9, 0.98),
    )
    _run.falling(optimizer, steps, warmup=steps // 8)
    for _ in range(steps):
        x, seen, mixing, y = series.first(n, NOISE)
        q, told = model(x, seen, mixing, y)
        loss = pinball(q[FIRST:], y[FIRST:])
        loss = loss + 0.2 * (told - y)[FIRST:].abs().mean()
        optimizer.zero_grad()
        loss.backward()
        rl.clip_grad_norm(model, 1.0)
        optimizer.step()
    seconds = time.perf_counter() - begin
    _run.as_shipped(model)
    state = {k: v.numpy() for k, v in model.state_dict().items()}
    checkpoint.save(file, state | {"seconds": np.array([seconds])})
    return model.eval(), series, seconds


def forecast(members, window):
    """Mean quantiles of (model, series) pairs for the days of a window, in GW."""
    n, found = window[1], []
    with torch.no_grad():
        for model, series in members:
            q, _ = model(*series.first(n))
            found.append(q[slice(*window)].numpy() * series.std + series.mean)
    return np.mean(found, 0)


# ---------------------------------------------------------------------- the intervals


def strays(q, y, low=0, high=-1):
    """How far demand lies outside of an interval (negative: inside), (days, 48)."""
    return np.maximum(q[..., low] - y, y - q[..., high])


def wider(before, now=None, level=0.9):
    """Conformal margins (60, 1): from 60 days before, or from the last 60 days.

    `before` and `now` are `strays`; with `now`, each day knows those before it.
    """
    if now is None:
        return np.full((len(before), 1), np.quantile(before, level))
    rows = np.concatenate([before, now])
    n = len(before)
    return np.array([[np.quantile(rows[k : k + n], level)] for k in range(len(now))])


def intervals(q, before, days):
    """Measured coverage and width of three kinds of interval on some days."""
    y, found = DEMAND[days], {}
    now = strays(q, y)
    for name, margin in {
        "quantiles": 0.0,
        "conformal": wider(before),
        "conformal, rolling": wider(before, now),
    }.items():
        width = q[..., -1] - q[..., 0] + 2 * margin
        found[name] = {
            "coverage": float((now <= margin).mean()),
            "width": float(width.mean()),
        }
    inner = strays(q, y, 2, -3)
    found["half"] = {
        "coverage": float((inner <= 0).mean()),
        "width": float((q[..., -3] - q[..., 2]).mean()),
    }
    return found


# -------------------------------------------------------------------- the experiment


def train(seed, folder, smoke):
    """Both variants on four windows, the intervals, and the leak."""
    setting = SMOKE if smoke else FULL
    record, arrays, outside, seconds = {}, {}, {}, 0.0
    test, validation = np.arange(*TEST), np.arange(*VALIDATION)
    theirs = rivals(TEST)
    for variant in VARIANTS:
        members, per_window = {}, {}
        for name, window in {**WINDOWS, "validation": VALIDATION, "test": TEST}.items():
            # the first windows are read by one member only: they are many trainings
            size = 1 if name in WINDOWS else setting["members"]
            group = []
            for k in range(size):
                file = folder / f"seed{seed}-{variant}-{name}-{k}.safetensors"
                model, series, spent = fit(
                    variant, window[0], 10 * seed + k, setting, file
                )
                group.append((model, series))
                if name == "test":
                    seconds += spent
                    weights = model.state_dict()
                    arrays |= {f"{variant}.{k}.{w}": v for w, v in weights.items()}
            members[name] = group
            per_window[name] = forecast(group, window)
        q, q_before = per_window["test"], per_window["validation"]
        before = strays(q_before, DEMAND[validation]).astype(np.float16)
        outside[f"{variant}.strays"] = before
        before = before.astype(float)  # as shipped
        middle = q[..., MIDDLE]
        alone = [forecast([m], TEST)[..., MIDDLE] for m in members["test"]]
        stack = {
            name: (2 * theirs[variant]["both ridges"][0] + middle) / 3
            if name == "with both ridges"
            else (theirs[variant][name][0] + middle) / 2
            for name in ("ridge, all", "ridge, chosen", "with both ridges")
        }
        errors = by_day(middle, test)
        record[variant] = {
            "mae": float(errors.mean()),
            "members": [float(by_day(a, test).mean()) for a in alone],
            "stack": {k: float(by_day(f, test).mean()) for k, f in stack.items()},
            "validation": float(by_day(q_before[..., MIDDLE], validation).mean()),
            "walk": {
                name: float(
                    by_day(per_window[name][..., MIDDLE], np.arange(*window)).mean()
                )
                for name, window in WINDOWS.items()
            },
            "intervals": intervals(q, before, test),
            "days": [round(float(e), 5) for e in errors],
            "stack_days": [
                round(float(e), 5) for e in by_day(stack["with both ridges"], test)
            ],
            "margin": float(wider(before)[0, 0]),
        }
        record[variant]["stacked"] = record[variant]["stack"]["with both ridges"]
    record["mae"] = record["without"]["mae"]
    record["date"] = leak(seed, setting, folder)
    record["train_seconds"] = seconds
    record["parameters"] = sum(v.numel() for v in arrays.values())
    arrays |= outside  # of validation, for the conformal intervals of the notebook
    if seed == 0:
        record["rivals"] = {
            variant: {
                name: {
                    "score": float(by_day(f, test).mean()),
                    "seconds": s,
                    "days": [round(float(e), 5) for e in by_day(f, test)],
                }
                for name, (f, s) in rows.items()
            }
            for variant, rows in theirs.items()
        }
        record["walk_rivals"] = {
            name: {
                variant: {
                    rival: float(by_day(f, np.arange(*window)).mean())
                    for rival, (f, _) in rows.items()
                }
                for variant, rows in rivals(window).items()
            }
            for name, window in {**WINDOWS, "validation": VALIDATION}.items()
        }
    return record, arrays


def leak(seed, setting, folder):
    """Errors on fitted days and on validation days, without and with the date."""
    found = {}
    for name, date in {"no date": False, "date": True}.items():
        n = VALIDATION[0]
        file = folder / f"seed{seed}-with-validation-0.safetensors"
        if date:
            file = folder / f"seed{seed}-date.safetensors"
        model, series, _ = fit("with", n, 10 * seed, setting, file, date)
        for days, window in {"fitted": (FIRST, n), "validation": VALIDATION}.items():
            q = forecast([(model, series)], window)
            error = by_day(q[..., MIDDLE], np.arange(*window)).mean()
            found[f"{name}, {days}"] = float(error)
    return found


def paired(a, b, block=5):
    """Mean of a - b over days, and its standard error from blocks of days."""
    d = (np.asarray(a) - np.asarray(b)).reshape(-1, block).mean(1)
    return float(d.mean()), float(d.std(ddof=1) / math.sqrt(len(d)))


def report(records):
    """What the JSON says beside the seeds."""
    theirs, variants, said = records[0]["rivals"], {}, []
    for variant in VARIANTS:
        mine = [r[variant] for r in records]
        rows = theirs[variant]
        best = min(rows, key=lambda name: rows[name]["score"])
        days = {
            "network": np.mean([r["days"] for r in mine], 0),
            "network and ridges": np.mean([r["stack_days"] for r in mine], 0),
        }
        scores = {
            "network": _run.summary(mine, "mae"),
            "network and ridges": _run.summary(mine, "stacked"),
        }
        pairs = {k: paired(d, rows[best]["days"]) for k, d in days.items()}
        variants[variant] = {
            "score": scores["network"],
            "stacked": scores["network and ridges"],
            "best_rival": best,
            "paired": pairs,
            "target": {"without": 0.20, "with": 0.13}[variant],
        }
        verdict = []
        for k, (d, se) in pairs.items():
            word = "ties with" if abs(d) < 2 * se else "beats" if d < 0 else "loses to"
            verdict.append(
                f"{k} {scores[k]['mean']:.3f} GW {word} it ({d:+.3f} ± {se:.3f})"
            )
        said.append(
            f"{variant} tomorrow's temperature the best rival ({best}) has "
            f"{rows[best]['score']:.3f}: " + ", ".join(verdict)
        )
    text = "; ".join(said) + "."
    return {
        "application": "Time-series forecasting",
        "task": "tomorrow's electricity demand at midnight, 48 half-hours, "
        "without tomorrow's temperature",
        "test": "60 days, 2 November to 31 December 2014, half-hourly",
        "metric": "MAE, GW",
        "better": "lower",
        "target": 0.20,
        "parameters": records[0]["parameters"],
        "rivals": {
            name: {k: row[k] for k in ("score", "seconds")}
            for name, row in theirs["without"].items()
        },
        "score": _run.summary(records, "mae"),
        "variants": variants,
        "settings": FULL,
        "verdict": text[0].upper() + text[1:],
    }


if __name__ == "__main__":
    _run.main("forecasting", __doc__, train, report)
