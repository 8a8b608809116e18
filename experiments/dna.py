"""Find splice junctions in 60 bases of DNA, and name the family of a whole gene.

    python -m experiments.dna           # 3 seeds, about 30 minutes in all
    python -m experiments.dna --smoke   # seconds, nothing kept

Splice junctions: a small convolution, then two GRUs that read towards the middle from
both ends; their states at the two middle bases go to the output. Five folds, each
tested once. Then, on a smaller budget and all alike: the mean of all states in place of
those at the junction, and three ways to train on the other strand as well.

Genes: a convolution over codons, a GRU over what it finds, and the largest of each over
the whole length. It and its rivals are measured twice: on the five random folds, where
nearly every gene has a relative in training, and on five folds that keep relatives
together.

How it was tuned: the splice network's settings on folds 1 to 4 alone (three of them to
train, one to look at, in turn), so fold 0 is a test that no setting has seen; the
other folds were seen by the settings, not by the weights that are tested on them. The
rivals' C likewise. For the gene network designs were tried for a few epochs and looked
at on fold 1, of the random folds and once of the others: it has seen those two.
Every final network is trained on all of four folds and tested on the fifth, once.
"""

import time
import warnings
from functools import lru_cache

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer
from sklearn.svm import SVC
from torch import nn

from experiments import _run
from rnnlib import torch as rl
from rnnlib.data import gene_families, splice_junctions
from rnnlib.data.dna import (
    CODONS,
    FOLDS,
    codons,
    deal_groups,
    one_hot,
    related,
    reverse_complement,
    shared_kmers,
)

EI, IE, N = range(3)
LEFT, RIGHT = 29, 30  # the bases on both sides of the middle
MOTIFS, WIDTH, HIDDEN = 32, 7, 48
STRANDS = {  # the label of the other strand, for each label
    "same label": (EI, IE, N),
    "labels swapped": (IE, EI, N),
    "no junction": (N, N, N),
}
CROP, SPAN = 300, 6  # codons
AMINO = np.array(
    list("KNKNTTTTRSRSIIMIQHQHPPPPRRRRLLLLEDEDAAAAGGGGVVVV*Y*YSSSS*CWCLFLFX")
)
FULL = {
    "splice": {"epochs": 25, "batch": 64, "lr": 3e-3},
    "small": {"epochs": 5, "batch": 64, "lr": 3e-3},
    "genes": {"epochs": 8, "batch": 32, "lr": 4e-3},
    "longer": {"epochs": 24, "batch": 32, "lr": 4e-3},  # one fold, seed 0
    "rows": None,
}
SMOKE = {
    "splice": {"epochs": 1, "batch": 64, "lr": 3e-3},
    "small": {"epochs": 1, "batch": 64, "lr": 3e-3},
    "genes": {"epochs": 1, "batch": 64, "lr": 3e-3},
    "longer": {"epochs": 1, "batch": 32, "lr": 4e-3},
    "rows": 70,
}


class Junction(nn.Module):
    """Scores (B, 3) of 60 bases, one-hot (B, 60, 4).

    ``read`` says which states of the two GRUs are scored: "junction", those at the two
    middle bases; "mean", the mean of all.
    """

    def __init__(self, seed, read="junction"):
        super().__init__()
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        self.read = read
        self.motifs = nn.Conv1d(4, MOTIFS, WIDTH, padding=WIDTH // 2)
        self.gru = rl.Bidirectional(rl.GRU(4 + MOTIFS, HIDDEN, seed=rng))
        states = {"junction": 4, "mean": 2}[read]
        self.output = rl.Dense(states * HIDDEN, 3, seed=rng)
        self.few, self.many = nn.Dropout(0.1), nn.Dropout(0.3)

    def forward(self, x, lengths=None):
        if self.training:  # a tenth of the bases cannot be read
            hidden = torch.rand(x.shape[:2]) < 0.1
            x = torch.where(hidden[..., None], 0.25, x)
        found = torch.relu(self.motifs(x.transpose(1, 2))).transpose(1, 2)
        x = torch.cat([x, self.few(found)], dim=-1)  # (B, 60, 4 + 32)
        if self.read == "mean":
            states = self.gru(x)[0].mean(1)
        else:  # the same states as `self.gru` has there, in half the steps
            ahead, back = self.gru.directions
            a = ahead(x[:, : RIGHT + 1])[0][:, LEFT:]  # (B, 2, 48)
            b = back(x[:, LEFT:])[0][:, :2]
            states = torch.cat([a, b], dim=-1).flatten(1)
        return self.output(self.many(states))


class Family(nn.Module):
    """Scores (B, 7) of genes, as ids of codons (B, T); ``CODONS + 1`` is padding.

    The convolution reads six codons at a time, each as one-hot; so its products are
    looked up in a table: row ``66 j + c`` is what codon c adds at place j of the six.
    """

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        self.motifs = rl.Embedding(SPAN * (CODONS + 2), 64, seed=rng)
        self.gru = rl.Bidirectional(rl.GRU(64, 32, seed=rng))
        self.output = rl.Dense(64 + 4 * 32, 7, seed=rng)
        self.many = nn.Dropout(0.3)

    def forward(self, ids, lengths=None):
        if self.training:  # a tenth of the codons cannot be read
            hidden = torch.rand(ids.shape) < 0.1
            ids = torch.where(hidden & (ids < CODONS), CODONS, ids)
        x = ids.unfold(1, SPAN, 2) + (CODONS + 2) * torch.arange(SPAN)
        B, T = x.shape[:2]
        table = 4 * self.motifs.W
        x = nn.functional.embedding_bag(x.reshape(-1, SPAN), table, mode="sum")
        x = torch.relu(x).reshape(B, T, -1).transpose(1, 2)  # (B, 64, T / 2)
        y = self.gru(nn.functional.max_pool1d(x, 5).transpose(1, 2))[0]
        pooled = [x.amax(-1), y.mean(1), y.amax(1)]
        return self.output(self.many(torch.cat(pooled, dim=-1)))


def build(seed, read="junction"):
    """The network for splice junctions."""
    return Junction(seed, read)


class Batches:
    """Batches of some rows, in a new order each epoch; ``draw`` makes x and y."""

    def __init__(self, rows, draw, seed, batch):
        self.rows, self.draw, self.seed, self.batch = rows, draw, seed, batch
        self.epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.rows) // self.batch

    def __iter__(self):
        rng = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        torch.manual_seed(1000 * self.seed + self.epoch)  # dropout, also when resumed
        order = rng.permutation(self.rows)
        for k in range(len(self)):
            yield self.draw(order[k * self.batch : (k + 1) * self.batch], rng)


def fit(model, batches, setting, file):
    """Train, resumable; returns seconds."""
    optimizer = torch.optim.AdamW(model.parameters(), setting["lr"], weight_decay=0.02)
    steps = setting["epochs"] * len(batches)
    _run.falling(optimizer, steps, warmup=steps // 20)
    history = rl.fit(
        model,
        batches,
        loss=rl.cross_entropy,
        optimizer=optimizer,
        epochs=setting["epochs"],
        clip=1.0,
        progress=False,
        checkpoint=file,
        resume=True,
    )
    return sum(history.seconds)


def scores(model, x, batch=512):
    """Scores of all rows."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(part) for part in torch.as_tensor(x).split(batch)])


def count(model):
    """Number of parameters."""
    return sum(p.numel() for p in model.parameters())


# ------------------------------------------------------------------ splice junctions


def cross_validate(seed, setting, name, folder, read="junction", strands=None):
    """Train one network a fold; returns what all rows are told, and more."""
    genes = splice_junctions()
    x, y = one_hot(genes.sequences), genes.y
    other = one_hot([reverse_complement(s) for s in genes.sequences])
    told, told_other = np.zeros(len(y), int), np.zeros(len(y), int)
    arrays, seconds = {}, 0.0

    def draw(rows, rng):
        if strands is None:
            return x[rows], y[rows]
        turned = rng.random(len(rows)) < 0.5
        label = np.where(turned, np.array(STRANDS[strands])[y[rows]], y[rows])
        return np.where(turned[:, None, None], other[rows], x[rows]), label

    for fold in range(FOLDS):
        model = build(10 * seed + fold, read)
        batches = Batches(
            few(genes.folds != fold, setting["rows"]), draw, seed, setting["batch"]
        )
        file = folder / f"seed{seed}-{name.replace(' ', '-')}-{fold}.safetensors"
        seconds += fit(model, batches, setting, file)
        _run.as_shipped(model)
        test = few(genes.folds == fold, setting["rows"])
        told[test] = scores(model, x[test]).argmax(-1)
        told_other[test] = scores(model, other[test]).argmax(-1)
        arrays |= {f"fold{fold}.{k}": v for k, v in model.state_dict().items()}
    return told, told_other, seconds, arrays


def few(chosen, rows=None):
    """The rows of a mask; in a smoke run, about so many of them."""
    found = np.flatnonzero(chosen)
    return found if rows is None else found[:: -(-len(found) // rows)]


@lru_cache(maxsize=1)
def unlike():
    """Which junctions share no stretch of 20 bases with any other fold."""
    genes = splice_junctions()
    shared = shared_kmers(genes.sequences).tocoo()
    row, column = shared.coords
    like = np.zeros(len(genes.y), bool)
    like[row[genes.folds[row] != genes.folds[column]]] = True
    return ~like


def right(told, genes):
    """Percent right: mean of the folds, each fold, each class, and the unlike rows."""
    hit = 100.0 * (told == genes.y)
    by_fold = [float(hit[genes.folds == k].mean()) for k in range(FOLDS)]
    return {
        "score": float(np.mean(by_fold)),
        "folds": by_fold,
        "unlike": float(hit[unlike()].mean()),
        "classes": [float(hit[genes.y == k].mean()) for k in range(3)],
        "told": "".join(map(str, told)),
    }


def strand_errors(told_other, genes):
    """Percent of other strands of junctions, and of the rest, told to be a junction."""
    called = 100.0 * (told_other != N)
    junction = genes.y != N
    return {
        "junctions": float(called[junction].mean()),
        "rest": float(called[~junction].mean()),
    }


def splice_rivals(rows):
    """Classical rivals on the same folds."""
    genes = splice_junctions()
    flat = one_hot(genes.sequences).reshape(len(genes.y), -1)
    text = np.array(genes.sequences, object)
    counts = CountVectorizer(analyzer="char", ngram_range=(1, 6), lowercase=False)
    found = {}
    for name, model, x in (
        ("k-mers, logistic regression", kmers(counts, 300), text),
        ("positions, logistic regression", LogisticRegression(C=0.1), flat),
        ("positions, SVM", SVC(C=3), flat),
    ):
        begin, told = time.perf_counter(), np.zeros(len(genes.y), int)
        for fold in range(FOLDS):
            train, test = (
                few(chosen, rows)
                for chosen in (genes.folds != fold, genes.folds == fold)
            )
            told[test] = model.fit(x[train], genes.y[train]).predict(x[test])
        seconds = time.perf_counter() - begin
        found[name] = {"seconds": seconds} | right(told, genes)
    return found


def kmers(counter, steps):
    """Logistic regression on the logs of counts, scaled to length one."""
    log = FunctionTransformer(np.log1p)
    return make_pipeline(
        counter, log, Normalizer(), LogisticRegression(C=100, max_iter=steps)
    )


# ---------------------------------------------------------------------------- genes


@lru_cache(maxsize=1)
def gene_splits():
    """Folds of the loader, folds that keep relatives together, and what is shared."""
    genes = gene_families()
    shared = shared_kmers(genes.sequences)
    together = deal_groups(related(shared), genes.y)
    return {"random": genes.folds, "groups": together}, shared


def padded(ids):
    """Crops of codons side by side, (N, CROP); padded at the end."""
    block = np.full((len(ids), CROP), CODONS + 1)
    for row, some in zip(block, ids, strict=True):
        row[: len(some)] = some[:CROP]
    return block


def family_scores(model, ids):
    """Mean log probability over the crops of each gene, (N, 7)."""
    parts = [some[k : k + CROP] for some in ids for k in range(0, len(some) or 1, CROP)]
    owner = np.repeat(np.arange(len(ids)), [-(-(len(s) or 1) // CROP) for s in ids])
    weights = np.array([len(part) + 1 for part in parts])
    logs = scores(model, padded(parts), batch=128).log_softmax(-1).numpy()
    total = np.zeros((len(ids), logs.shape[1]))
    np.add.at(total, owner, weights[:, None] * logs)
    return total


def train_families(seed, split, setting, folder, tested=range(FOLDS), name="genes"):
    """One network a fold; returns what its genes are told, seconds and fold 0's."""
    genes, folds = gene_families(), gene_splits()[0][split]
    ids = [codons(s) for s in genes.sequences]

    def draw(rows, rng):
        begins = [rng.integers(max(1, len(ids[r]) - CROP + 1)) for r in rows]
        crops = [ids[r][b : b + CROP] for r, b in zip(rows, begins, strict=True)]
        return padded(crops), genes.y[rows]

    told, seconds, first = np.zeros(len(genes.y), int), 0.0, None
    for fold in tested:
        model = Family(10 * seed + fold)
        batches = Batches(
            few(folds != fold, setting["rows"]), draw, seed, setting["batch"]
        )
        file = folder / f"seed{seed}-{name}-{split}-{fold}.safetensors"
        seconds += fit(model, batches, setting, file)
        _run.as_shipped(model)
        test = few(folds == fold, setting["rows"])
        told[test] = family_scores(model, [ids[k] for k in test]).argmax(-1)
        first = first or model
    return told, seconds, first


def family_right(told, folds):
    """Percent right, mean of the folds."""
    y = gene_families().y
    by_fold = [float(100 * (told == y)[folds == k].mean()) for k in range(FOLDS)]
    return {
        "score": float(np.mean(by_fold)),
        "folds": by_fold,
    }


def longer(setting, folder):
    """Percent right on fold 0 of both splits, after a longer training."""
    y, found = gene_families().y, {}
    for split, folds in gene_splits()[0].items():
        told, seconds, _ = train_families(0, split, setting, folder, [0], "longer")
        score = float(100 * (told == y)[folds == 0].mean())
        found[split] = {"score": score, "seconds": seconds}
    return found


def look_up(shared, folds, y):
    """The family of the gene in other folds that shares most stretches of 20 bases."""
    pairs = shared.tocoo()
    row, column = pairs.coords
    other = folds[row] != folds[column]
    row, column, n = row[other], column[other], pairs.data[other]
    order = np.argsort(n, kind="stable")  # the last of a row wins
    told = np.full(len(y), np.bincount(y).argmax())
    told[row[order]] = y[column[order]]
    return told


def family_rivals(rows):
    """Rivals on both splits."""
    genes, (splits, shared) = gene_families(), gene_splits()
    text = np.array(genes.sequences, object)
    protein = np.array(["".join(AMINO[codons(s)]) for s in text], object)
    found = {}
    for split, folds in splits.items():
        begin = time.perf_counter()
        told = look_up(shared, folds, genes.y)
        seconds = time.perf_counter() - begin
        found[split] = {
            "look-up": {"seconds": seconds} | family_right(told, folds),
        }
        for name, x, k in (("6-mers", text, 6), ("3 amino acids", protein, 3)):
            begin, told = time.perf_counter(), np.zeros(len(genes.y), int)
            for fold in range(FOLDS):
                counts = CountVectorizer(
                    analyzer="char", ngram_range=(k, k), lowercase=False
                )
                train, test = (
                    few(chosen, rows) for chosen in (folds != fold, folds == fold)
                )
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    model = kmers(counts, 60).fit(x[train], genes.y[train])
                told[test] = model.predict(x[test])
            seconds = time.perf_counter() - begin
            found[split][f"{name}, logistic regression"] = {
                "seconds": seconds
            } | family_right(told, folds)
    return found


# -------------------------------------------------------------------- the experiment


def train(seed, folder, smoke):
    """All of it for one seed, as the docstring says; the rivals with seed 0."""
    setting, genes = (SMOKE if smoke else FULL), splice_junctions()
    rows, record = setting["rows"], {}
    splice, small, families = (
        setting[k] | {"rows": rows} for k in ("splice", "small", "genes")
    )
    told, other, seconds, arrays = cross_validate(seed, splice, "splice", folder)
    record |= {"train_seconds": seconds, "parameters": count(build(0))}
    record |= right(told, genes) | {"other strand": strand_errors(other, genes)}
    record["designs"] = {}
    for name, options in {
        "junction": {},
        "mean": {"read": "mean"},
        **{name: {"strands": name} for name in STRANDS},
    }.items():
        told, other, seconds, _ = cross_validate(seed, small, name, folder, **options)
        record["designs"][name] = right(told, genes) | {
            "told": None,  # of the full model only: that is long enough
            "seconds": seconds,
            "other strand": strand_errors(other, genes),
        }
    record["families"] = {}
    splits, _ = gene_splits()
    for split, folds in splits.items():
        told, seconds, first = train_families(seed, split, families, folder)
        record["families"][split] = {
            "seconds": seconds,
            "parameters": count(first),
        } | family_right(told, folds)
    arrays |= {f"genes.{k}": v for k, v in first.state_dict().items()}  # groups, fold 0
    if seed == 0:
        record["longer"] = longer(setting["longer"] | {"rows": rows}, folder)
        record["rivals"] = splice_rivals(rows)
        record["family rivals"] = family_rivals(rows)
    return record, arrays if seed == 0 else None


def report(records):
    """What the JSON says beside the seeds."""
    score, rivals = _run.summary(records, "score"), records[0]["rivals"]
    best = max(rivals, key=lambda name: rivals[name]["score"])
    lead = score["mean"] - rivals[best]["score"]
    families = {}
    for split in ("random", "groups"):
        own = [r["families"][split] for r in records]
        families[split] = {
            "GRU over codons": _run.summary(own, "score")
            | {"seconds": float(np.mean([r["seconds"] for r in own]))},
            "rivals": {
                name: {key: rival[key] for key in ("score", "seconds")}
                for name, rival in records[0]["family rivals"][split].items()
            },
        }
    return {
        "application": "DNA sequences",
        "task": "does an exon end, or begin, in the middle of 60 bases, or neither?",
        "test": "3,004 stretches of primate DNA, in five folds each tested once",
        "metric": "accuracy, %",
        "better": "higher",
        "target": 96.5,
        "parameters": records[0]["parameters"],
        "rivals": {
            name: {key: rival[key] for key in ("score", "seconds", "unlike")}
            for name, rival in rivals.items()
        },
        "score": score,
        "unlike": _run.summary(records, "unlike"),
        "fold 0": _run.summary([{"score": r["folds"][0]} for r in records], "score"),
        "designs": {
            name: {
                key: _run.summary([r["designs"][name] for r in records], key)
                for key in ("score", "unlike")
            }
            | {
                f"other strand, {key}": _run.summary(
                    [r["designs"][name]["other strand"] for r in records], key
                )
                for key in ("junctions", "rest")
            }
            for name in records[0]["designs"]
        },
        "families": families,
        "settings": FULL,
        "verdict": (
            f"The GRU is right in {score['mean']:.1f} % of the sites, "
            f"{abs(lead):.1f} points {'above' if lead > 0 else 'below'} the best "
            f"rival ({best})."
        ),
    }


if __name__ == "__main__":
    _run.main("dna", __doc__, train, report)
