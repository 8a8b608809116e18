"""Phrase-based translation, the best there was before networks, in one file.

Words are aligned by counting which stand in each other's sentences (Dyer et al., 2013).
Pairs of phrases that fit the alignment make a table (Koehn et al., 2003). A search then
covers the source with phrases, in almost any order, so that the sum of a few logarithms
is large: of phrase and word probabilities and of a trigram model of the target.
`WEIGHTS` was chosen on validation pairs, one number after the other.
"""

import math
import re
from collections import Counter, defaultdict

import numpy as np
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from rnnlib.bpe import mark_capitals, unmark_capitals

LONGEST = 6  # words of a source phrase; two more in the target
NULL, TENSION, ROUNDS = 0.08, 4.0, 8  # of the alignment
WEIGHTS = {
    "table": (0.3, 0.2, 0.2, 0.2),  # p(t|s), p(s|t), and the same word by word
    "trigram": 0.5,
    "word": 0.3,
    "phrase": -0.5,
    "jump": -0.15,
}
STACK, OPTIONS, REACH = 30, 12, 4  # of the search
DISCOUNT = 0.8  # of the trigrams
tokenize = Tokenizer13a()


def split(text):
    """Words and signs as BLEU counts them, capitals apart."""
    return mark_capitals(tokenize(text)).split()


def join(words):
    """A text of words and signs, without spaces where none are written."""
    text = unmark_capitals(" ".join(words))
    return re.sub(r"(?<=[¿¡(]) | (?=[.,:;!?)])", "", text)


def numbered(texts):
    """The number of each word, and the texts as arrays of them."""
    number = {w: k for k, w in enumerate(sorted({w for text in texts for w in text}))}
    return number, [np.array([number[w] for w in text]) for text in texts]


def align(sources, targets, V_s, V_t):
    """For each target word its source word (-1: none), and the table t(target|source).

    IBM model 1 with a preference for the same place, by expectation maximisation.
    """
    source, target, row, prior, shapes, start = [], [], [], [], [], 0
    for s, t in zip(sources, targets, strict=True):
        m, n = len(s), len(t)
        place = (np.arange(n)[:, None] + 0.5) / n - (np.arange(m) + 0.5) / m
        near = np.exp(-TENSION * np.abs(place))
        near *= (1 - NULL) / near.sum(axis=1, keepdims=True)
        prior.append(np.hstack([np.full((n, 1), NULL), near]).ravel())
        source.append(np.tile([V_s, *s], n))
        target.append(np.repeat(t, m + 1))
        row.append(start + np.repeat(np.arange(n), m + 1))
        shapes.append((n, m + 1))
        start += n
    source, target, row, prior = map(np.concatenate, (source, target, row, prior))
    pairs, place = np.unique(source * V_t + target, return_inverse=True)
    table = np.ones(len(pairs))
    for _ in range(ROUNDS):
        share = table[place] * prior
        share /= np.bincount(row, share)[row]
        count = np.bincount(place, share)
        table = count / np.bincount(pairs // V_t, count)[pairs // V_t]
    share, best, start = table[place] * prior, [], 0
    for n, m in shapes:
        best.append(share[start : start + n * m].reshape(n, m).argmax(axis=1) - 1)
        start += n * m
    known = zip((pairs // V_t).tolist(), (pairs % V_t).tolist(), strict=True)
    return best, dict(zip(known, table.tolist(), strict=True))


def symmetric(forward, backward):
    """Links (source, target) of two alignments: their common ones, grown by others."""
    one = {(i, j) for j, i in enumerate(forward) if i >= 0}
    two = {(i, j) for i, j in enumerate(backward) if j >= 0}
    links, grown = one & two, True

    def free(i, j, either=True):
        rows, columns = (
            (i not in {a for a, _ in links}),
            (j not in {b for _, b in links}),
        )
        return rows or columns if either else rows and columns

    while grown:
        grown = False
        for i, j in sorted(links):
            for a in (i - 1, i, i + 1):
                for b in (j - 1, j, j + 1):
                    if (a, b) in (one | two) - links and free(a, b):
                        links.add((a, b))
                        grown = True
    for link in sorted(one) + sorted(two):
        if free(*link, either=False):
            links.add(link)
    return links


def phrases(m, n, links):
    """Spans ((i1, i2), (j1, j2)), ends excluded, that no link leaves."""
    linked = {j for _, j in links}
    for i1 in range(m):
        for i2 in range(i1 + 1, min(m, i1 + LONGEST) + 1):
            inside = [j for i, j in links if i1 <= i < i2]
            if not inside:
                continue
            low, high = min(inside), max(inside) + 1
            if any(low <= j < high and not i1 <= i < i2 for i, j in links):
                continue
            j1 = low
            while j1 >= 0 and (j1 == low or j1 not in linked):
                j2 = high
                while j2 <= n and (j2 == high or j2 - 1 not in linked):
                    if j2 - j1 <= LONGEST + 2:
                        yield (i1, i2), (j1, j2)
                    j2 += 1
                j1 -= 1


class Trigrams:
    """Kneser-Ney trigrams of words, with one discount."""

    def __init__(self, texts):
        padded = [["<s>", "<s>", *text, "</s>"] for text in texts]
        grams = [tuple(t[k - 2 : k + 1]) for t in padded for k in range(2, len(t))]
        self.counts = [Counter(grams)]
        for _ in range(2):  # in how many contexts a shorter one stands
            self.counts.insert(0, Counter(g[1:] for g in self.counts[0]))
        self.total = [Counter(), Counter(), Counter()]
        self.kinds = [Counter(), Counter(), Counter()]
        for n, counts in enumerate(self.counts):
            for gram, count in counts.items():
                self.total[n][gram[:-1]] += count
                self.kinds[n][gram[:-1]] += 1
        self.known = {}

    def __call__(self, gram):
        """Logarithm of the probability of the last of three words."""
        if gram not in self.known:
            p = 1 / (len(self.counts[0]) + 1)
            for n, counts in enumerate(self.counts):
                part = gram[2 - n :]
                if total := self.total[n][part[:-1]]:
                    spread = DISCOUNT * self.kinds[n][part[:-1]] * p
                    p = (max(counts[part] - DISCOUNT, 0) + spread) / total
            self.known[gram] = math.log(p)
        return self.known[gram]


class PhraseBased:
    """Fitted on pairs of texts; `translate` gives the best translation found."""

    def __init__(self, pairs):
        S, T = [split(a) for a, _ in pairs], [split(b) for _, b in pairs]
        (to_s, s), (to_t, t) = numbered(S), numbered(T)
        forward, p_t = align(s, t, len(to_s), len(to_t))
        backward, p_s = align(t, s, len(to_t), len(to_s))
        count, word_scores = Counter(), {}
        for k, (f, b) in enumerate(zip(forward, backward, strict=True)):
            links = symmetric(f.tolist(), b.tolist())
            turned = {(j, i) for i, j in links}
            for (i1, i2), (j1, j2) in phrases(len(S[k]), len(T[k]), links):
                phrase = tuple(S[k][i1:i2]), tuple(T[k][j1:j2])
                count[phrase] += 1
                if phrase not in word_scores:
                    word_scores[phrase] = (
                        _by_word(s[k], t[k], links, (i1, i2), (j1, j2), p_t, len(to_s)),
                        _by_word(
                            t[k], s[k], turned, (j1, j2), (i1, i2), p_s, len(to_t)
                        ),
                    )
        of_source, of_target = Counter(), Counter()
        for (a, b), n in count.items():
            of_source[a] += n
            of_target[b] += n
        self.table = defaultdict(list)
        for (a, b), n in count.items():
            n -= 0.3  # what was seen once is less sure
            logs = math.log(n / of_source[a]), math.log(n / of_target[b])
            self.table[a].append((b, logs + word_scores[a, b]))
        self.trigrams = Trigrams(T)

    def translate(self, text):
        words = split(text)
        n, options = len(words), self._options(words)
        future = self._future(n, options)
        rest = {}  # what the words that are not covered may still cost
        stacks = [{} for _ in range(n + 1)]
        stacks[0][0, ("<s>", "<s>"), 0] = 0.0, 0.0, ()
        for covered in range(n):
            ranked = sorted(stacks[covered].items(), key=lambda item: -item[1][0])
            for (mask, before, end), (_, score, said) in ranked[:STACK]:
                first = next(i for i in range(n) if not mask >> i & 1)
                for (i, j), found in options.items():
                    span = (1 << j) - (1 << i)
                    if mask & span or i > first + REACH:
                        continue
                    new = mask | span
                    if new not in rest:
                        rest[new] = _uncovered(new, n, future)
                    for value, phrase in found:
                        after, total = before, score + value
                        total += WEIGHTS["jump"] * abs(i - end)
                        for word in phrase + ("</s>",) * (new + 1 == 1 << n):
                            total += WEIGHTS["trigram"] * self.trigrams((*after, word))
                            after = after[1], word
                        stack, key = stacks[covered + j - i], (new, after, j)
                        if key not in stack or total > stack[key][1]:
                            stack[key] = total + rest[new], total, said + phrase
        return join(max(stacks[n].values(), key=lambda found: found[1])[2])

    def _options(self, words):
        """The best phrases of each span of the source, with their scores."""
        options = {}
        for i in range(len(words)):
            for j in range(i + 1, min(len(words), i + LONGEST) + 1):
                found = self.table.get(tuple(words[i:j]), [])
                if not found and j == i + 1:  # an unknown word stays as it is
                    found = [((words[i],), (0.0,) * 4)]
                scored = [(_score(logs, phrase), phrase) for phrase, logs in found]
                if scored:
                    options[i, j] = sorted(scored, reverse=True)[:OPTIONS]
        return options

    def _future(self, n, options):
        """(n, n + 1) best score of each span, without the words around it."""
        future = np.full((n, n + 1), -np.inf)
        for (i, j), found in options.items():
            for value, phrase in found[:4]:
                grams = [("", "", *phrase)[k : k + 3] for k in range(len(phrase))]
                value += WEIGHTS["trigram"] * sum(map(self.trigrams, grams))
                future[i, j] = max(future[i, j], value)
        for length in range(2, n + 1):
            for i in range(n - length + 1):
                for k in range(i + 1, i + length):
                    both = future[i, k] + future[k, i + length]
                    future[i, i + length] = max(future[i, i + length], both)
        return future


def _score(logs, phrase):
    value = WEIGHTS["word"] * len(phrase) + WEIGHTS["phrase"]
    return value + sum(w * x for w, x in zip(WEIGHTS["table"], logs, strict=True))


def _uncovered(mask, n, future):
    """Sum of the best scores of the gaps of a cover."""
    total, i = 0.0, 0
    while i < n:
        j = i
        while j < n and not mask >> j & 1:
            j += 1
        total += future[i, j] if j > i else 0.0
        i = max(j, i + 1)
    return total


def _by_word(s, t, links, span, written, table, null):
    """Log-probability of a target phrase given its source, word by word."""
    total = 0.0
    for j in range(*written):
        linked = [s[i] for i in range(*span) if (i, j) in links] or [null]
        p = np.mean([table.get((int(i), int(t[j])), 0.0) for i in linked])
        total += math.log(max(p, 1e-4))
    return total
