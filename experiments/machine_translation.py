"""English to Spanish: an LSTM encoder-decoder with attention, and its rivals.

    python -m experiments.machine_translation            # 3 seeds, half an hour
    python -m experiments.machine_translation --smoke    # seconds, nothing kept

One table of 2,000-odd pieces of words is the embedding of the source, of the target
and the output layer at once. Trained on all pairs that are not held out, with words cut
into other pieces now and then. Sizes are what 2.8 MB of 16-bit weights hold; the rest
is what is usual for little data. The test is read once for each seed.
"""

import hashlib
import os
import time
from dataclasses import replace

os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "4096")  # many lengths

import numpy as np
import torch
from sacrebleu.metrics import BLEU, CHRF
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import nn
from torch.nn import functional as F

from experiments import _run
from experiments._phrases import PhraseBased
from rnnlib import data, decode
from rnnlib import torch as rl
from rnnlib.batches import Batches
from rnnlib.bpe import BytePairEncoding, mark_capitals, unmark_capitals
from rnnlib.text import pad

SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")
UNK, START, END = 1, 2, 3
FULL = {
    "merges": 2000,
    "dim": 192,
    "hidden": 256,
    "attention": "dot",
    "dropout": 0.25,
    "cut_dropout": 0.1,  # of merges, in training
    "noise": 0.05,  # ids replaced by <unk>, in training
    "smoothing": 0.1,  # of the labels
    "batch_size": 96,
    "lr": 3e-3,
    "warmup": 300,  # steps
    "epochs": 40,
    "longest": 48,  # pieces of a training text
}
SMALL = {"merges": 300, "dim": 16, "hidden": 16, "epochs": 1}
CUTS = 6  # of each training pair, made before training
BEAM, ALPHA = 5, 1.0


class Tied(nn.Module):
    """Scores of all pieces: a Dense layer whose matrix is an embedding, transposed."""

    def __init__(self, table):
        super().__init__()
        self.table = (table,)  # in a tuple: its parameters are counted elsewhere
        self.b = nn.Parameter(torch.zeros(table.vocab_size))

    def forward(self, x):
        return x @ self.table[0].W.T + self.b


class Locked(nn.Module):
    """Dropout with one mask for all steps of a sequence (Gal and Ghahramani, 2016)."""

    has_state = reads_backwards = False

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        if not self.training:
            return x
        mask = torch.rand(x.shape[0], 1, x.shape[2]) >= self.p
        return x * (mask / (1 - self.p))


class Translator(rl.EncoderDecoder):
    """The library's encoder-decoder with one table for all that reads or writes."""

    def __init__(self, vocab, dim, hidden, *, attention, dropout, seed):
        super().__init__(
            vocab,
            vocab,
            dim,
            hidden,
            cell="LSTM",
            attention=attention,
            bidirectional=True,
            dropout=dropout,
            seed=seed,
        )
        table = self.encoder.layers[0]
        with torch.no_grad():
            table.W *= 3  # up to 0.15: it makes scores as well
        self.decoder._parts["0"] = table
        for network in (self.encoder, self.decoder):
            network._parts["1"] = Locked(dropout)
        self._parts["dropout"] = Locked(dropout)
        self._parts["combine"] = rl.Dense(2 * hidden, dim, "tanh", seed=seed)
        self._parts["output"] = Tied(table)


def build(vocab, seed, settings=FULL):
    """The model of the chapter."""
    names = ("dim", "hidden", "attention", "dropout")
    return Translator(vocab, **{n: settings[n] for n in names}, seed=seed)


def to_ship(model):
    """The weights, each once."""
    state = model.state_dict()
    del state["decoder.0.W"]
    return state


class Cuts:
    """Training batches, with words cut into other pieces in each epoch."""

    def __init__(self, pairs, bpe, settings, seed):
        self.settings, self.seed, self.epoch = settings, seed, 0
        rng = np.random.default_rng([seed, 1])
        p, longest = settings["cut_dropout"], settings["longest"]
        pairs = [[mark_capitals(text).split() for text in pair] for pair in pairs]
        words = dict.fromkeys(w for pair in pairs for text in pair for w in text)
        usual = {w: bpe.encode(w) for w in words}
        self.cuts = {w: [bpe.encode(w, p, rng) for _ in range(CUTS)] for w in words}
        lengths = [[sum(len(usual[w]) for w in text) for text in p] for p in pairs]
        self.pairs = [
            p for p, n in zip(pairs, lengths, strict=True) if max(n) <= longest
        ]
        # What a batch counts, on average: tokens of short batches weigh no more.
        counts = [n[1] + 1 for n in lengths if max(n) <= longest]
        self.typical = settings["batch_size"] * float(np.mean(counts))

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return -(-len(self.pairs) // self.settings["batch_size"])

    def __iter__(self):
        rng = np.random.default_rng([self.seed, 2, self.epoch])

        def cut(text):
            chosen = rng.integers(CUTS, size=len(text))
            return np.concatenate(
                [self.cuts[w][k] for w, k in zip(text, chosen, strict=True)]
            )

        x, target, lengths = arrays([tuple(map(cut, pair)) for pair in self.pairs])
        noise = self.settings["noise"]
        noisy = tuple(
            np.where((rng.random(ids.shape) < noise) & (ids > END), UNK, ids)
            for ids in x
        )
        size = self.settings["batch_size"]
        batches = Batches(
            noisy, target, lengths, batch_size=size, seed=self.seed, by_length=True
        )
        batches.set_epoch(self.epoch)
        self.epoch += 1
        return iter(batches)


def arrays(pairs):
    """``(source, target_in), target, lengths`` of pairs of ids, for `Batches`."""
    source, source_lengths = pad([a for a, _ in pairs])
    target_in, target_lengths = pad([[START, *b] for _, b in pairs])
    target, _ = pad([[*b, END] for _, b in pairs])
    return (source, target_in), target, (source_lengths, target_lengths)


def smoothed(smoothing, typical):
    """Cross-entropy with smoothed labels; a batch weighs as much as it has targets."""

    def loss(logits, y, mask):
        y, logits = y[mask], logits[mask].float()
        value = F.cross_entropy(logits, y, label_smoothing=smoothing)
        return value * (len(y) / typical)

    return lambda logits, y, mask: loss(logits, y, torch.from_numpy(mask))


def translate(model, bpe, texts, beam=BEAM, alpha=ALPHA, batch_size=128):
    """Translations of texts, in their order."""
    sources = [bpe.encode(mark_capitals(text)) for text in texts]
    order = np.argsort([len(ids) for ids in sources], kind="stable")
    result = [""] * len(texts)
    model.eval()
    for chunk in np.array_split(order, -(-len(order) // batch_size)):
        source, lengths = pad([sources[k] for k in chunk])
        with torch.no_grad():
            state = model.encode(torch.from_numpy(source), lengths)
            found = decode.beam_search(
                model.step,
                torch.full((len(chunk),), START),
                state,
                beam=beam,
                alpha=alpha,
                max_length=2 * source.shape[1] + 10,
                end=END,
            )
        for k, hypotheses in zip(chunk, found, strict=True):
            result[k] = unmark_capitals(bpe.decode(hypotheses[0].ids))
    return result


def bleu(guesses, pairs):
    return BLEU().corpus_score(guesses, [[b for _, b in pairs]]).score


def nearest(known, texts):
    """For each text the number of the most similar known one, and the similarity."""
    tfidf = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+")
    tfidf.fit([*known, *texts])  # a word that no known text has makes unlike
    similarity = (tfidf.transform(texts) @ tfidf.transform(known).T).tocsr()
    return (
        np.asarray(similarity.argmax(axis=1)).ravel(),
        similarity.max(axis=1).toarray().ravel(),
    )


def unlike(pairs):
    """Numbers of the half of the test that is least like anything trained on."""
    known = [english for english, _ in pairs.train + pairs.extra]
    _, similarity = nearest(known, [english for english, _ in pairs.test])
    return np.sort(np.argsort(similarity, kind="stable")[: len(similarity) // 2])


def scores(guesses, pairs, chosen=None):
    """BLEU and chrF with half the width of their 95 % intervals, over sentences."""
    chosen = range(len(pairs)) if chosen is None else chosen
    found = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        score = metric.corpus_score(
            [guesses[k] for k in chosen],
            [[pairs[k][1] for k in chosen]],
            n_bootstrap=1000,
        )
        found[name], found[f"{name}_ci"] = score.score, float(score._ci)
    return found


def both(guesses, pairs):
    """Scores of the whole test and of its unlike half."""
    half = {
        f"unlike_{k}": v for k, v in scores(guesses, pairs.test, unlike(pairs)).items()
    }
    return scores(guesses, pairs.test) | half


def prepare(smoke):
    """Pairs, what is trained on, the encoding of it, and the settings."""
    pairs, settings = data.translations(), FULL | (SMALL if smoke else {})
    if smoke:
        every = {"train": 8, "validation": 40, "test": 40, "extra": 40}
        pairs = replace(pairs, **{k: getattr(pairs, k)[::n] for k, n in every.items()})
    train = pairs.train + pairs.extra
    texts = [mark_capitals(text) for pair in train for text in pair]
    bpe = BytePairEncoding.fit(texts, settings["merges"], SPECIALS)
    return pairs, train, bpe, settings


def train(seed, folder, smoke):
    pairs, known, bpe, settings = prepare(smoke)
    cuts = Cuts(known, bpe, settings, seed)
    held_out = [[bpe.encode(mark_capitals(t)) for t in p] for p in pairs.validation]
    x, y, lengths = arrays(held_out)
    validation = Batches(x, y, lengths, batch_size=64, shuffle=False, by_length=True)
    torch.manual_seed(seed)
    model = build(len(bpe), seed, settings)
    adam = torch.optim.Adam(
        model.parameters(), lr=settings["lr"], betas=(0.9, 0.98), fused=True
    )
    steps = settings["epochs"] * len(cuts)
    with _run.mixed():
        history = rl.fit(
            model,
            cuts,
            loss=smoothed(settings["smoothing"], cuts.typical),
            optimizer=_run.falling(adam, steps, settings["warmup"]),
            epochs=settings["epochs"],
            clip=1.0,
            progress=False,
            checkpoint=folder / f"seed{seed}.safetensors",
            resume=True,
        )
    _run.as_shipped(model)
    record = {
        "train_loss": history.loss,
        "train_seconds": sum(history.seconds),
        "steps": steps,
        "parameters": sum(p.numel() for p in model.parameters()),
        "validation_nats": rl.evaluate(model, validation),
    }
    texts = [english for english, _ in pairs.validation]
    record["validation_bleu"] = bleu(translate(model, bpe, texts), pairs.validation)
    english = [text for text, _ in pairs.test]
    begin = time.perf_counter()
    guesses = translate(model, bpe, english)
    record["beam_seconds"] = time.perf_counter() - begin
    record |= both(guesses, pairs)
    begin = time.perf_counter()
    greedy = translate(model, bpe, english, beam=1)
    record["greedy_seconds"] = time.perf_counter() - begin
    record["greedy_bleu"] = bleu(greedy, pairs.test)
    return record, to_ship(model) if seed == 0 else None


def rivals(pairs):
    """What others make of the test: scores, CPU seconds, and the phrases' texts."""
    found, english = {}, [text for text, _ in pairs.test]
    found["copy"] = both(english, pairs) | {"seconds": 0.0}
    known = pairs.train + pairs.extra
    for name, train in (("retrieval", pairs.train), ("retrieval in all", known)):
        begin = time.process_time()
        near, _ = nearest([text for text, _ in train], english)
        seconds = time.process_time() - begin
        found[name] = both([train[k][1] for k in near], pairs) | {"seconds": seconds}
    begin = time.process_time()
    phrases = PhraseBased(known)
    fitted = time.process_time()
    said = {"test": [phrases.translate(text) for text in english]}
    seconds = {"fit": fitted - begin, "seconds": time.process_time() - begin}
    said["validation"] = [phrases.translate(text) for text, _ in pairs.validation]
    validation = bleu(said["validation"], pairs.validation)
    found["phrase-based"] = both(said["test"], pairs) | seconds
    found["phrase-based"]["validation_bleu"] = validation
    return {name: {"score": f["bleu"]} | f for name, f in found.items()}, said


def report(records):
    pairs, _, bpe, settings = prepare(len(records) < 3)
    score, half = (_run.summary(records, k) for k in ("bleu", "unlike_bleu"))
    others, said = rivals(pairs)
    retrieval, phrases = others["retrieval"], others["phrase-based"]
    more = score["mean"] - retrieval["score"]
    margin = score["mean"] - phrases["score"]
    return {
        "application": "Machine translation",
        "task": "Translate short English texts of a program's screens to Spanish",
        "test": "1,000 pairs of 2 to 15 English words, none of them in training "
        "with other capitals or punctuation",
        "metric": "BLEU",
        "better": "higher",
        "target": 43.0,
        "parameters": records[0]["parameters"],
        "settings": settings | {"beam": BEAM, "alpha": ALPHA, "cuts": CUTS},
        "pieces": len(bpe),
        "pieces_sha256": hashlib.sha256(
            " ".join(bpe.vocabulary.tokens).encode()
        ).hexdigest(),
        "rivals": others,
        "score": score,
        "unlike": half,
        "greedy": _run.summary(records, "greedy_bleu"),
        "chrf": _run.summary(records, "chrf"),
        "verdict": f"{more:.1f} BLEU more than looking up "
        f"the most similar pair, {abs(margin):.1f} {'more' if margin > 0 else 'less'} "
        f"than phrase-based translation, which is fitted in {phrases['fit']:.0f} s; on "
        f"the half of the test least like the training {half['mean']:.1f} against "
        f"{retrieval['unlike_bleu']:.1f} and {phrases['unlike_bleu']:.1f}.",
        "phrase_based": said,
    }


if __name__ == "__main__":
    _run.main("machine_translation", __doc__, train, report)
