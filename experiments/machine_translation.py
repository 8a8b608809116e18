"""English to Spanish: an LSTM encoder-decoder with attention, and its rivals.

    python -m experiments.machine_translation            # 3 seeds
    python -m experiments.machine_translation --smoke    # seconds, nothing kept
"""

import math
import time

import numpy as np
import torch
from sacrebleu.metrics import BLEU
from torch import nn
from torch.nn import functional as F

from experiments import _run
from rnnlib import data, decode
from rnnlib import torch as rl
from rnnlib.batches import Batches
from rnnlib.bpe import BytePairEncoding, mark_capitals, unmark_capitals
from rnnlib.text import pad

SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")
PAD, UNK, START, END = range(4)
FULL = {
    "merges": 2000,
    "dim": 192,
    "hidden": 256,
    "attention": "dot",
    "dropout": 0.3,
    "cut_dropout": 0.1,  # of merges, in training
    "noise": 0.05,  # ids replaced by <unk>, in training
    "smoothing": 0.1,  # of the labels
    "batch_size": 64,
    "lr": 2e-3,
    "epochs": 60,
    "longest": 48,  # pieces of a training text
    "extra": True,
}
SMOKE = FULL | {"merges": 200, "dim": 16, "hidden": 16, "epochs": 1}
CUTS = 6  # of each training pair, made before training
BEAM, ALPHA = 5, 1.0


class Tied(nn.Module):
    """Scores of all pieces, by the table that also embeds them."""

    def __init__(self, table):
        super().__init__()
        self.table = (table,)  # in a tuple: its parameters are counted elsewhere
        self.b = nn.Parameter(torch.zeros(table.vocab_size))

    def forward(self, x):
        return x @ self.table[0].W.T + self.b


class Translator(rl.EncoderDecoder):
    """The library's encoder-decoder with one table for all that reads or writes."""

    def __init__(self, vocab, dim, hidden, *, attention, dropout, seed):
        super().__init__(
            vocab, vocab, dim, hidden, cell="LSTM", attention=attention,
            bidirectional=True, dropout=dropout, seed=seed,
        )  # fmt: skip
        table = self.encoder.layers[0]
        with torch.no_grad():
            table.W *= 3.0
        self.decoder._modules["0"] = table
        self.combine = rl.Dense(2 * hidden, dim, "tanh", seed=seed)
        self.output = Tied(table)


def ends(text):
    return mark_capitals(text)


class Cuts:
    """Training batches, with every word cut into pieces anew in each epoch."""

    def __init__(self, pairs, bpe, settings, seed):
        self.settings, self.seed, self.epoch = settings, seed, 0
        rng = np.random.default_rng([seed, 1])
        p = settings["cut_dropout"]
        self.cuts = []
        for pair in pairs:
            marked = [mark_capitals(text) for text in pair]
            cuts = [
                [bpe.encode(text, p, rng) for text in marked]
                for _ in range(CUTS if p else 1)
            ]
            cuts = [c for c in cuts if max(map(len, c)) <= settings["longest"]]
            if cuts:
                self.cuts.append(cuts)

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return -(-len(self.cuts) // self.settings["batch_size"])

    def __iter__(self):
        rng = np.random.default_rng([self.seed, 2, self.epoch])
        chosen = [cuts[rng.integers(len(cuts))] for cuts in self.cuts]
        (source, target_in), target, lengths = arrays(chosen)
        noisy = [
            np.where((rng.random(ids.shape) < self.settings["noise"]) & (ids > END), UNK, ids)
            for ids in (source, target_in)
        ]
        batches = Batches(
            tuple(noisy), target, lengths,
            batch_size=self.settings["batch_size"], seed=self.seed, by_length=True,
        )  # fmt: skip
        batches.set_epoch(self.epoch)
        self.epoch += 1
        return iter(batches)


def arrays(pairs):
    """``(source, target_in), target, lengths`` of pairs of ids."""
    source, source_lengths = pad([a for a, _ in pairs])
    target_in, target_lengths = pad([[START, *b] for _, b in pairs])
    target, _ = pad([[*b, END] for _, b in pairs])
    return (source, target_in), target, (source_lengths, target_lengths)


def smoothed(smoothing, typical):
    def loss(logits, y, mask):
        mask = torch.from_numpy(mask)
        y = y[mask]
        value = F.cross_entropy(logits[mask].float(), y, label_smoothing=smoothing)
        return value * (len(y) / typical)

    return loss


def nats(logits, y, mask=None):
    return rl.cross_entropy(logits.float(), y, mask)


def translate(model, bpe, texts, beam=BEAM, alpha=ALPHA, batch_size=128):
    """Translations of texts."""
    sources = [bpe.encode(mark_capitals(text)) for text in texts]
    order = np.argsort([len(s) for s in sources], kind="stable")
    result = [""] * len(texts)
    model.eval()
    with torch.no_grad():
        for chunk in np.array_split(order, -(-len(order) // batch_size)):
            source, lengths = pad([sources[k] for k in chunk])
            state = model.encode(torch.from_numpy(source), lengths)
            start = torch.full((len(chunk),), START)
            found = decode.beam_search(
                model.step, start, state, beam=beam, alpha=alpha, end=END,
                max_length=int(1.5 * source.shape[1]) + 10,
            )  # fmt: skip
            for k, hypotheses in zip(chunk, found, strict=True):
                result[k] = unmark_capitals(bpe.decode(hypotheses[0].ids))
    return result


def bleu(guesses, pairs):
    return BLEU().corpus_score(guesses, [[b for _, b in pairs]]).score
