"""A character model of Irish tunes that may copy from the tune it is writing.

    python -m experiments.music            # 3 seeds, minutes each
    python -m experiments.music --smoke    # seconds, nothing kept

Embedding(V, 48) - LSTM(48, 384) - Dropout - Dense(384, V), and beside it a pointer: the
state looks for similar states earlier in the same tune, and what followed them there is
a second guess. One softmax weighs all earlier places and the network's own guess.

In training a tune is often written in another key, drawn from the keys of its mode;
this happens less and less, and not at all in the last passes. Trained on the training
tunes alone. Seed 0 also trains the same network without the pointer.

How it was tuned, on validation: the sizes are what 1.6 MB of 16-bit weights hold. A
first run, planned for 40 passes with more dropout and batches of 24 tunes, was stopped
after 14: it fitted validation better than its own training batches, so there was too
much dropout, and it learned slowly in the first passes, so batches got smaller. The
orders and cache strengths of the n-gram models, and shares of mixtures, are chosen on
validation as well. Test scores of unfinished runs were seen while the code was
written; nothing was chosen by them.
"""

import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from experiments import _run
from rnnlib import baselines, data
from rnnlib import torch as rl
from rnnlib.data import abc
from rnnlib.text import Vocabulary, pad

NAME, TARGET = "music", 1.46  # bits per character
END, UNK = 0, 1  # of a tune; a character that training does not have
EMBEDDING, HIDDEN, POINTER = 48, 384, 64
EPOCHS, BATCH, LR, DECAY = 16, 16, 4e-3, 0.1
DROPOUT, INPUT_DROPOUT, WEIGHT_DROPOUT = 0.4, 0.1, 0.1
TRANSPOSED = 0.6  # share of the tunes in the first pass
LONGEST = 640  # characters of a training tune; the rest is left out, now and then
FLOOR = 1e-4  # what all models give to all characters alike
ORDERS = (6, 8, 10, 12)
CONTEXTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24)  # of the cache, in characters


class Composer(nn.Module):
    """The model of the chapter: an LSTM with a pointer into the tune so far.

    Forward takes ids (B, T) and returns log-probabilities (B, T, V) of what comes next.
    """

    def __init__(self, vocab_size, hidden=HIDDEN, pointer=POINTER, seed=0):
        super().__init__()
        self.embedding = rl.Embedding(vocab_size, EMBEDDING, seed=seed)
        self.lstm = rl.LSTM(EMBEDDING, hidden, seed=seed + 1)
        self.output = rl.Dense(hidden, vocab_size, seed=seed + 2)
        self.pointer = pointer
        if pointer:
            self.query = rl.Dense(hidden, pointer, seed=seed + 3)
            self.key = rl.Dense(hidden, pointer, seed=seed + 4)
            self.stay = nn.Parameter(torch.zeros(pointer))

    def forward(self, x, lengths=None):
        if lengths is not None:
            raise ValueError("Composer: mask the loss instead of passing lengths")
        inputs, weights = self.embedding(x), dict(self.lstm.named_parameters())
        if self.training:
            inputs = F.dropout(inputs, INPUT_DROPOUT)
            weights["W_hh"] = F.dropout(weights["W_hh"], WEIGHT_DROPOUT)
        h, _ = torch.func.functional_call(self.lstm, weights, (inputs,))  # (B, T, H)
        own = self.output(F.dropout(h, DROPOUT, self.training)).float()
        own = own.log_softmax(-1)  # (B, T, V)
        if not self.pointer:
            return own
        return torch.logaddexp(*self.guesses(x, h, own))

    def guesses(self, x, h, own):
        """Logs of the two shares of each character's probability, (B, T, V) each."""
        q, k = self.query(h), self.key(h)  # (B, T, P)
        scores = (q @ k.transpose(1, 2)).float() / self.pointer**0.5  # (B, T, T)
        later = torch.ones(scores.shape[1:], dtype=torch.bool).triu()
        scores = scores.masked_fill(later, float("-inf"))  # only before now
        stay = (q @ self.stay).float()[..., None]  # (B, T, 1)
        weights = torch.cat([stay, scores], dim=-1).softmax(-1)
        follow = F.one_hot(x[:, 1:], own.shape[-1]).to(weights.dtype)
        copied = weights[..., 1:-1] @ follow  # what came after each place
        return (
            own + weights[..., :1].clamp_min(1e-8).log(),
            copied.float().clamp_min(1e-8).log(),
        )


def build(vocab_size, seed, hidden=HIDDEN, pointer=POINTER):
    """The model of the chapter."""
    return Composer(vocab_size, hidden, pointer, seed)


def vocabulary(tunes):
    """The characters of the training tunes, an end mark and an unknown one."""
    return Vocabulary.fit("".join(tunes), specials=("<end>", "<unk>"))


def encode(tune, vocab):
    """Ids of a tune, between two end marks."""
    return np.array([END, *vocab.encode(tune), END])


class Tunes:
    """Batches of tunes of similar length, many of them in another key.

    Parameters
    ----------
    tunes : list of str
    vocab : Vocabulary
    epochs, seed : int
        The batches of pass e are a function of ``(seed, e)`` alone.
    """

    def __init__(self, tunes, vocab, epochs, seed, share=TRANSPOSED):
        self.epochs, self.seed, self.share, self.epoch = epochs, seed, share, 0
        self.tunes = [encode(tune, vocab) for tune in tunes]
        self.others, self.chances = others(tunes)
        self.others = [[encode(t, vocab) for t in ts] for ts in self.others]

    def __len__(self):
        return -(-len(self.tunes) // BATCH)

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        rng = np.random.default_rng([self.seed, self.epoch])
        share = self.share * max(0.0, 1 - self.epoch / (0.85 * self.epochs))
        chosen = list(self.tunes)
        for k, ts in enumerate(self.others):
            if ts and rng.random() < share:
                chosen[k] = ts[rng.choice(len(ts), p=self.chances[k])]
        for k, tune in enumerate(chosen):
            if len(tune) > LONGEST + 1:  # its beginning, or its end
                chosen[k] = (
                    tune[: LONGEST + 1] if rng.random() < 0.7 else tune[-LONGEST - 1 :]
                )
        self.epoch += 1
        return iter(batches(chosen, BATCH, rng))


def others(tunes):
    """Each tune in all other keys that tunes of its mode have, and how usual they are.

    Returns
    -------
    others : list of list of str
        Nothing for a tune whose key cannot be read.
    chances : list of list of float
    """
    keys = []
    for tune in tunes:
        try:
            tonic, sharps = abc.read_key(tune.split("K:")[1].split("\n")[0])
            name = tune.split("K:")[1].split("\n")[0][len(tonic) :].strip().lower()
            keys.append((tonic, name))
        except ValueError:
            keys.append(None)
    found, chances = [], []
    for tune, key in zip(tunes, keys, strict=True):
        texts, counts = [], []
        for other in sorted({k for k in keys if k and key and k[1] == key[1]} - {key}):
            try:
                text = abc.transpose(tune, other[0])
            except ValueError:
                continue
            texts.append(text)
            counts.append(keys.count(other))
        found.append(texts)
        chances.append((np.array(counts) / sum(counts)) if counts else None)
    return found, chances


def batches(tunes, size, rng=None):
    """Pairs x, y of shape (B, T); where a tune is over, y is -1."""
    lengths = np.array([len(tune) for tune in tunes])
    order = np.arange(len(tunes))
    if rng is not None:
        lengths, order = (
            lengths + rng.integers(0, 20, len(tunes)),
            rng.permutation(order),
        )
    order = order[np.argsort(lengths[order], kind="stable")]
    parts = [order[k : k + size] for k in range(0, len(order), size)]
    if rng is not None:
        rng.shuffle(parts)
    for part in parts:
        x, _ = pad([tunes[k][:-1] for k in part])
        y, _ = pad([tunes[k][1:] for k in part], -1)
        yield x, y


def loss(logits, y):
    """Nats of the characters that are there, per entry of y.

    `fit` weighs a batch by its entries; so each character weighs the same.
    """
    nats = F.nll_loss(logits.transpose(1, 2), y, ignore_index=-1, reduction="sum")
    return nats / y.numel()


def probabilities(model, tunes, size=16):
    """What a model gives to the characters of each tune and its end mark: arrays."""
    model.eval()
    order = np.argsort([len(t) for t in tunes], kind="stable")
    found = [None] * len(tunes)
    with torch.no_grad():
        for part in np.array_split(order, -(-len(order) // size)):
            x, _ = pad([tunes[k][:-1] for k in part])
            log_p = model(torch.from_numpy(x))
            for row, k in zip(log_p, part, strict=True):
                y = torch.from_numpy(tunes[k][1:])
                found[k] = row[torch.arange(len(y)), y].double().exp().numpy()
    return found


def bits(model, tunes):
    """Costs of the characters of each tune and its end mark: a list of arrays."""
    return [floored(p, model.output.output_size) for p in probabilities(model, tunes)]


def floored(p, vocab_size):
    """Bits of probabilities, after a little of all is dealt out to all alike."""
    return -np.log2((1 - FLOOR) * p + FLOOR / vocab_size)


def mean(costs):
    """Bits per character."""
    return float(np.concatenate(costs).mean())


def ngram(tunes, held_out, vocab_size, order):
    """Probabilities that a modified Kneser-Ney model gives to each held-out tune."""
    stream = np.concatenate([tunes[0][:1], *[t[1:] for t in tunes]])
    model = baselines.KneserNey(order, "modified").fit(stream, vocab_size)
    return [2 ** model.log2_probs(t[1:], t[:1]) for t in held_out]


class Cache:
    """An n-gram model of the tune so far, on top of another model.

    The successors of the last n characters, earlier in this tune, are counted, for each
    n of `CONTEXTS`. From the shortest to the longest, counts are added to `strength`
    times the probability found so far: ``p <- (c(hw) + s p) / (c(h) + s)``.
    """

    def counts(self, tune):
        """c(hw) and c(h) for each character after the first, (2, contexts, N)."""
        found = np.zeros((2, len(CONTEXTS), len(tune) - 1))
        text = tune.astype(np.int32).tobytes()
        for row, n in enumerate(CONTEXTS):
            seen = {}
            for t in range(n, len(tune)):
                h, w = text[4 * (t - n) : 4 * t], tune[t]
                after = seen.setdefault(h, {})
                found[:, row, t - 1] = after.get(w, 0), sum(after.values())
                after[w] = after.get(w, 0) + 1
        return found

    def fit(self, tunes, probabilities):
        """Choose the strengths, from large to small, on these tunes."""
        counts = np.concatenate([self.counts(t) for t in tunes], axis=2)
        p, V = np.concatenate(probabilities), 78
        grid = np.geomspace(0.01, 100, 17)
        self.strengths = np.full(len(CONTEXTS), 2.0)
        best = np.inf
        for _ in range(4):
            for row in range(len(CONTEXTS)):
                costs = []
                for s in grid:
                    trial = self.strengths.copy()
                    trial[row] = s
                    costs.append(floored(mixed(p, counts, trial), V).mean())
                self.strengths[row] = grid[int(np.argmin(costs))]
            if min(costs) > best - 1e-4:
                break
            best = min(costs)
        return self

    def __call__(self, tunes, probabilities):
        """Probabilities of each tune's characters with the cache on top."""
        return [
            mixed(p, self.counts(t), self.strengths)
            for t, p in zip(tunes, probabilities, strict=True)
        ]


def mixed(p, counts, strengths):
    """Probabilities after the counts of each context, from short to long."""
    for of_word, of_all, s in zip(*counts, strengths, strict=True):
        p = (of_word + s * p) / (of_all + s)
    return p


def prepare(smoke):
    """Training tunes, ids of all parts, and the vocabulary."""
    tunes = data.irish_tunes()
    cut = 60 if smoke else None
    vocab = vocabulary(tunes.train)
    parts = {p: getattr(tunes, p)[:cut] for p in ("train", "validation", "test")}
    return parts, {p: [encode(t, vocab) for t in ts] for p, ts in parts.items()}, vocab


def fitted(parts, ids, vocab, seed, file, smoke, pointer=POINTER):
    """A trained network, rounded to what is shipped, and its training's history."""
    epochs = 1 if smoke else EPOCHS
    torch.manual_seed(seed)  # of the dropout
    model = build(len(vocab), seed, 32 if smoke else HIDDEN, pointer)
    tunes = Tunes(parts["train"], vocab, epochs, seed)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}],
        lr=LR,
        betas=(0.9, 0.99),
        weight_decay=DECAY,
    )
    _run.falling(optimizer, steps=len(tunes) * epochs, warmup=100)
    validate = list(batches(ids["validation"], 16))
    with _run.mixed():
        history = rl.fit(
            model,
            tunes,
            loss=loss,
            optimizer=optimizer,
            epochs=epochs,
            clip=1.0,
            validate=validate,
            progress=False,
            checkpoint=file,
            resume=True,
        )
    entries = sum(y.size for _, y in validate) / sum(
        (y >= 0).sum() for _, y in validate
    )
    curve = [float(v * entries / np.log(2)) for v in history.val_loss]
    return _run.as_shipped(model), sum(history.seconds), curve


def rivals(parts, ids, vocab, smoke):
    """What each rival gives to the characters of validation and test, and its seconds.

    Each n-gram model is fitted twice, on the training tunes and on them in all other
    keys as well; the order and the cache's strengths are chosen on validation.
    """
    V, found = len(vocab), {}
    texts, _ = others(parts["train"])
    more = [encode(text, vocab) for ts in texts for text in ts]
    for name, tunes in (("", ids["train"]), (", all keys", ids["train"] + more)):
        p, seconds = {}, {}
        for order in ORDERS[:1] if smoke else ORDERS:
            begin = time.perf_counter()
            p[order] = ngram(tunes, ids["validation"], V, order)
            seconds[order] = time.perf_counter() - begin
        best = min(p, key=lambda k: mean([floored(a, V) for a in p[k]]))
        alone = {"validation": p[best], "test": ngram(tunes, ids["test"], V, best)}
        begin = time.perf_counter()
        cache = Cache().fit(ids["validation"], alone["validation"])
        cached = {part: cache(ids[part], alone[part]) for part in alone}
        extra = time.perf_counter() - begin
        kind = f"Kneser-Ney {best}-gram"
        found[f"{kind}{name}"] = alone, seconds[best], None
        strengths = cache.strengths.tolist()
        found[f"{kind} with cache{name}"] = cached, seconds[best] + extra, strengths
    return found


def together(ours, theirs, V):
    """Test bits of two models mixed, and the share of ours, chosen on validation."""
    shares = np.arange(0.5, 1.0, 0.05)

    def cost(part, s):
        p = [s * a + (1 - s) * b for a, b in zip(ours[part], theirs[part], strict=True)]
        return [floored(q, V) for q in p]

    best = min(shares, key=lambda s: mean(cost("validation", s)))
    return cost("test", best), float(best)


def paired(ours, theirs):
    """Mean over tunes of the difference in bits per character, and its error."""
    gap = [a.mean() - b.mean() for a, b in zip(ours, theirs, strict=True)]
    error = np.std(gap, ddof=1) / np.sqrt(len(gap))
    return {"difference": float(np.mean(gap)), "standard_error": float(error)}


def train(seed, folder, smoke):
    """Train one seed, measure it as it is shipped; returns its record and weights."""
    parts, ids, vocab = prepare(smoke)
    V = len(vocab)
    model, seconds, curve = fitted(
        parts, ids, vocab, seed, folder / f"seed{seed}.safetensors", smoke
    )
    begin = time.perf_counter()
    ours = {part: probabilities(model, ids[part]) for part in ("validation", "test")}
    record = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_seconds": seconds,
        "measure_seconds": time.perf_counter() - begin,
        "validation_curve": curve,
        "train_excerpt_bits": mean(bits(model, ids["train"][: len(ids["test"])])),
    }
    costs = {part: [floored(p, V) for p in ours[part]] for part in ours}
    record |= {f"{part}_bits": mean(costs[part]) for part in ours}
    unknown = [c[t[1:] == UNK] for c, t in zip(costs["test"], ids["test"], strict=True)]
    record["unknown"] = {
        "characters": int(sum(map(len, unknown))),
        "bits": float(np.concatenate(unknown).sum()),
    }
    record["rivals"] = {}
    for name, (p, time_, strengths) in rivals(parts, ids, vocab, smoke).items():
        theirs = {part: [floored(q, V) for q in p[part]] for part in p}
        record["rivals"][name] = {
            "score": mean(theirs["test"]),
            "seconds": time_,
            "validation_bits": mean(theirs["validation"]),
            "paired": paired(costs["test"], theirs["test"]),
        }
        if strengths:
            record["rivals"][name]["strengths"] = strengths
    mixture, share = together(ours, p, V)  # with the last of them
    record |= {"mixture_test_bits": mean(mixture), "mixture_share": share}
    # The network's own cache: does a pointer leave anything to be found?
    cache = Cache().fit(ids["validation"], ours["validation"])
    cached = [floored(q, V) for q in cache(ids["test"], ours["test"])]
    record["cached_test_bits"] = mean(cached)
    if seed == 0:
        file = folder / f"seed{seed}-plain.safetensors"
        plain, seconds, curve = fitted(parts, ids, vocab, seed, file, smoke, 0)
        record["plain"] = {
            "parameters": sum(p.numel() for p in plain.parameters()),
            "train_seconds": seconds,
            "validation_curve": curve,
        }
        theirs = {part: probabilities(plain, ids[part]) for part in ours}
        cache = Cache().fit(ids["validation"], theirs["validation"])
        own = [floored(q, V) for q in theirs["test"]]
        cached = [floored(q, V) for q in cache(ids["test"], theirs["test"])]
        record["plain"] |= {
            "test_bits": mean(own),
            "cached_test_bits": mean(cached),
            "paired": paired(costs["test"], own),
            "paired_cached": paired(costs["test"], cached),
        }
    return record, model.state_dict() if seed == 0 else None


def report(records):
    """What the results page says, from the seeds."""
    score, first = _run.summary(records, "test_bits"), records[0]
    best = min(first["rivals"].values(), key=lambda rival: rival["validation_bits"])
    gain = best["score"] - score["mean"]
    met = "met" if score["mean"] <= TARGET else "missed"
    return {
        "application": "Music generation",
        "task": "predict the next character of an Irish tune in ABC",
        "test": "198 tunes, 47,580 characters with their end marks",
        "metric": "bits/char",
        "better": "lower",
        "target": TARGET,
        "parameters": first["parameters"],
        "rivals": {
            name: {"score": rival["score"], "seconds": rival["seconds"]}
            for name, rival in first["rivals"].items()
        },
        "score": score,
        "mixture": _run.summary(records, "mixture_test_bits"),
        "cached": _run.summary(records, "cached_test_bits"),
        "plain": first["plain"]["test_bits"],
        "verdict": (
            f"The LSTM with a pointer needs {gain:.2f} bits per character less than "
            f"the best n-gram with a cache, for {first['train_seconds'] / 60:.0f} "
            f"minutes of training; without the pointer the same network is at "
            f"{first['plain']['test_bits']:.2f}; target {met}."
        ),
    }


if __name__ == "__main__":
    _run.main(NAME, __doc__, train, report)
