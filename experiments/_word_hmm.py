"""What speech recognisers were before neural networks: a hidden Markov model a word.

Each digit is a row of states that is walked from left to right; a state stays, goes on
or skips the next one, and emits features by a Gaussian of its own. The classical rival
of `experiments.speech_recognition`. It is trained on single recordings, whose ends are
known, and reads strings by the best walk through any number of digits.
"""

import numpy as np

WORDS = 10
PENALTY = 40.0  # what a further digit costs, in nats


class WordHMM:
    """Ten rows of states; see the module."""

    def __init__(self, states=8, rounds=2):
        self.states, self.rounds = states, rounds

    def fit(self, recordings, labels):
        """Cut evenly, fit the Gaussians, cut by the best walk, fit again."""
        N, edges = self.states, np.cumsum([len(x) for x in recordings])[:-1]
        steps = np.concatenate([moving(x) for x in recordings])
        self.mean, self.std = steps.mean(axis=0), steps.std(axis=0)
        steps = (steps - self.mean) / self.std
        walks = [np.arange(len(x)) * N // len(x) for x in recordings]
        for k in range(self.rounds):
            if k:
                scores = np.split(self._scores(steps), edges)
                walks = [
                    viterbi(e[:, y : y + 1], np.inf)[1]
                    for e, y in zip(scores, labels, strict=True)
                ]
            state = [N * y + w for w, y in zip(walks, labels, strict=True)]
            state = np.concatenate(state)
            self.emit = [gaussian(steps[state == k]) for k in range(WORDS * N)]
        return self

    def _scores(self, steps):
        """Log-density of each step in each state, (T, 10, N)."""
        scores = [
            constant - 0.5 * (((steps - mean) @ whiten) ** 2).sum(axis=1)
            for mean, whiten, constant in self.emit
        ]
        return np.stack(scores, axis=1).reshape(len(steps), WORDS, self.states)

    def read(self, strings, penalty=PENALTY):
        """The digits of each string of MFCCs (T, 13), by the best walk.

        An infinite penalty allows one digit only.
        """
        edges = np.cumsum([len(x) for x in strings])[:-1]
        steps = (np.concatenate([moving(x) for x in strings]) - self.mean) / self.std
        scores = np.split(self._scores(steps), edges)
        return [viterbi(e, penalty)[0] for e in scores]


def gaussian(steps, least=0.02):
    """Mean, whitening matrix and log-density at the mean of a Gaussian."""
    covariance = np.cov(steps, rowvar=False) + least * np.eye(steps.shape[1])
    whiten = np.linalg.inv(np.linalg.cholesky(covariance)).T
    constant = np.log(np.diag(whiten)).sum() - 0.5 * len(whiten) * np.log(2 * np.pi)
    return steps.mean(axis=0), whiten, constant


def moving(x):
    """The features and their slopes over five steps; (T, 13) -> (T, 26)."""
    p = np.pad(x, ((2, 2), (0, 0)), mode="edge")
    return np.concatenate([x, (p[4:] - p[:-4]) / 4], axis=1)


def viterbi(scores, penalty):
    """Best walk through words: which words, and the state at each of the T steps."""
    T, W, N = scores.shape
    best = np.full((W, N), -np.inf)
    best[:, 0] = scores[0, :, 0]
    came = []
    for t in range(1, T):
        ways = np.full((4, W, N), -np.inf)  # stay, go on, skip one, a new word
        ways[0], ways[1, :, 1:], ways[2, :, 2:] = best, best[:, :-1], best[:, :-2]
        last = best[:, -1].argmax()
        ways[3, :, 0] = best[last, -1] - penalty
        came.append((ways.argmax(axis=0), last))
        best = ways.max(axis=0) + scores[t]
    w, j = best[:, -1].argmax(), N - 1
    words, walk = [w], [j]
    for way, last in reversed(came):
        if way[w, j] == 3:
            w, j = last, N - 1
            words.append(w)
        else:
            j -= way[w, j]
        walk.append(j)
    return np.array(words[::-1]), np.array(walk[::-1])
