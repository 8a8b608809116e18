"""The nets of `experiments.sentiment`: words to rows, a reader, a language model.

What they have beyond the library is the pooling over the steps, words spelled from
character n-grams, and two language models that share their word rows.
"""

import zlib

import numpy as np
import torch
from torch.nn.functional import cross_entropy, dropout, embedding

from rnnlib import torch as rl
from rnnlib.torch.layers import Layer  # takes arrays back, as `resume` needs

DIM, HIDDEN, BUCKETS, SAMPLED = 32, 64, 8192, 1500


class Subwords(torch.nn.Module):
    """Rows for words, made of their spelling: ids (B, T) -> (B, T, D).

    A word is the sum of the rows of its character 3- to 5-grams and of itself, divided
    by the root of their number. Which row belongs to an n-gram is decided by a hash, so
    a word that was never seen has a row as well, near those that are spelled alike.
    """

    def __init__(self, tokens, dim, seed):
        super().__init__()
        rows = [self.rows(token) for token in tokens]
        table = np.zeros((len(rows), max(map(len, rows))), np.int64)  # 0: no n-gram
        for places, row in zip(table, rows, strict=True):
            places[: len(row)] = row
        self.register_buffer("table", torch.from_numpy(table), persistent=False)
        self.W = rl.Embedding(BUCKETS, dim, seed=seed).W

    @staticmethod
    def rows(token):
        """Numbers of the rows of one word."""
        text = f"<{token}>"
        grams = {text[i : i + n] for n in (3, 4, 5) for i in range(len(text) - n + 1)}
        grams = sorted(grams | {text})[:40]
        return [1 + zlib.crc32(g.encode()) % (BUCKETS - 1) for g in grams]

    def forward(self, ids):
        some, where = ids.unique(return_inverse=True)
        rows = self.table[some]
        keep = (rows > 0).float()
        if self.training:  # leave out some n-grams, so that none is relied on alone
            keep = keep * (torch.rand(keep.shape) > 0.1)
        keep = keep / keep.sum(dim=1, keepdim=True).clamp(min=1).sqrt()
        return torch.bmm(keep[:, None], embedding(rows, self.W))[:, 0][where]


class Reader(Layer):
    """One score for each sentence: ids (B, T) -> (B, 1), above 0 for good.

    `words` makes rows (B, T, D) of ids; `layer` reads them, or is None for a bag of
    words. With `pool` the mean and the maximum of its outputs go on, else the last.
    """

    def __init__(self, words, layer, width, pool, seed):
        super().__init__()
        self.words, self.layer, self.pool = words, layer, pool
        self.out = rl.Dense(width, 1)
        rng = np.random.default_rng(seed)
        for part in (layer, self.out):
            if part is not None:
                part.reset(rng)
        words.W.data.mul_(4)  # Keras' ±0.05 is small beside what training makes of it

    def forward(self, ids, lengths=None):
        if self.training and isinstance(self.words, rl.Embedding):
            ids = torch.where(torch.rand(ids.shape) < 0.1, 1, ids)  # <unk>
        x = dropout(self.words(ids), 0.4, self.training)  # (B, T, D)
        y = x if self.layer is None else self.layer(x, lengths=lengths)[0]
        if lengths is None:
            lengths = np.full(len(ids), ids.shape[1])
        n = torch.as_tensor(lengths)[:, None]  # (B, 1)
        if self.pool or self.layer is None:
            valid = (torch.arange(ids.shape[1]) < n)[..., None]  # (B, T, 1)
            h = torch.where(valid, y, 0).sum(dim=1) / n
            if self.pool:
                most = torch.where(valid, y, -torch.inf).amax(dim=1)
                h = torch.cat([h, most], dim=1)  # (B, 4H)
        else:
            h = y[torch.arange(len(ids)), n[:, 0] - 1]  # (B, H)
        return self.out(dropout(h, 0.5, self.training))


def build(step, tokens, seed):
    """The net of a step, for the tokens of a vocabulary."""
    if step == "subwords":
        rows = Subwords(tokens, DIM, seed)
    else:
        rows = rl.Embedding(len(tokens), DIM, seed=seed)
    if step == "bag":
        return Reader(rows, None, DIM, False, seed)
    if step in ("rnn", "lstm"):
        layer = {"rnn": rl.RNN, "lstm": rl.LSTM}[step](DIM, HIDDEN)
        return Reader(rows, layer, HIDDEN, False, seed)
    layer = rl.Bidirectional(rl.LSTM(DIM, HIDDEN))
    return Reader(rows, layer, 4 * HIDDEN, True, seed)


class LanguageModel(Layer):
    """The two directions of a reader as language models: ids (B, T) -> losses (B, 1).

    The one foretells the next word, the other the one before. They choose among the
    batch's words and some drawn at random, by the same word rows that they read.
    """

    def __init__(self, reader, frequencies, seed):
        super().__init__()
        self.reader, self.sampled = reader, SAMPLED
        self.out = rl.Dense(HIDDEN, DIM, seed=seed)
        self.bias = torch.nn.Parameter(torch.zeros(len(frequencies)))
        shares = torch.from_numpy(frequencies**0.75).float()
        self.register_buffer("shares", shares, persistent=False)

    def forward(self, ids, lengths=None):
        x = dropout(self.reader.words(ids), 0.2, self.training)
        drawn = torch.multinomial(self.shares, self.sampled, replacement=True)
        some, place = torch.cat([drawn, ids.flatten()]).unique(return_inverse=True)
        place = place[len(drawn) :].view(ids.shape)  # of each word among the candidates
        losses = 0
        for layer, read, asked in zip(
            self.reader.layer.directions,
            (slice(None, -1), slice(1, None)),
            (slice(1, None), slice(None, -1)),
            strict=True,
        ):
            h = dropout(layer(x)[0][:, read], 0.2, self.training)
            scores = self.out(h) @ self.reader.words.W[some].T + self.bias[some]
            losses = losses + cross_entropy(
                scores.transpose(1, 2), place[:, asked], reduction="none"
            )
        return losses.mean(dim=1, keepdim=True) / 2


class EqualLengths:
    """Batches of sentences of one length each: nothing to pad, and fast on a CPU.

    y goes along; epoch e is shuffled by ``(seed, e)`` alone.
    """

    def __init__(self, sentences, y, seed, batch_size=64):
        self.sentences, self.y, self.seed = sentences, y, seed
        self.batch_size, self.epoch = batch_size, 0
        lengths = np.array([len(s) for s in sentences])
        self.groups = [np.flatnonzero(lengths == n) for n in np.unique(lengths)]

    def __len__(self):
        return sum(-(-len(group) // self.batch_size) for group in self.groups)

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        rng = np.random.default_rng([self.seed, self.epoch])
        batches = []
        for group in self.groups:
            group, B = rng.permutation(group), self.batch_size
            batches += [group[k : k + B] for k in range(0, len(group), B)]
        for k in rng.permutation(len(batches)):
            chosen = batches[k]
            yield np.stack([self.sentences[i] for i in chosen]), self.y[chosen]
