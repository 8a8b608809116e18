"""Interpolated Kneser-Ney, a strong n-gram model and the RNN's honest rival.

Counting needs no gradient and no GPU. There is the variant with one discount, and the
"modified" one with three for each order (Chen and Goodman, 1999), a little better.
"""

import numpy as np

from rnnlib.checks import check_ids, check_shape, check_size


class KneserNey:
    """N-gram model with interpolated Kneser-Ney smoothing.

    How often did `w` follow the context `h`? Absolute discounting takes `D` from every
    count that is not 0 and spreads what was taken over the next shorter context `h'`:

    ``p_n(w|h) = max(c_n(hw) - D, 0) / c_n(h·)  +  D t_n(h) / c_n(h·) p_{n-1}(w|h')``

    with `t_n(h)` the number of different tokens seen after `h`, and `p_0 = 1/V`. The
    idea of Kneser and Ney is in the counts: at the highest order `c_n` counts
    occurrences; below it, `c_n(hw)` counts the different tokens seen *before* `hw`.
    `Francisco` may be frequent, but follows one word only; as a guess after an unknown
    context it deserves the count 1. A context that was never seen leaves the shorter
    one as it is.

    Parameters
    ----------
    order : int
        Length n of the longest n-gram: `order - 1` tokens of context.
    discount : float or "modified", default=0.75
        The discount `D`, above 0 and at most 1. "modified": three for each order, for
        counts of 1, of 2 and of more, computed from how many n-grams have the counts 1
        to 4. An order without such n-grams gets 0.75.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or is out of range.

    References
    ----------
    R. Kneser and H. Ney, "Improved backing-off for m-gram language modeling",
    ICASSP 1995. S. F. Chen and J. Goodman, "An empirical study of smoothing techniques
    for language modeling", Computer Speech & Language 13(4), 1999.

    Examples
    --------
    >>> ids = np.array([0, 1, 0, 2, 0, 1, 0])
    >>> model = KneserNey(order=2).fit(ids, vocab_size=4)
    >>> model.distribution([0]).round(3)
    array([0.227, 0.518, 0.185, 0.07 ])
    >>> round(model.bits_per_token(ids), 3)
    0.985
    """

    def __init__(self, order, discount=0.75):
        self.order = check_size("KneserNey", "order", order)
        if discount != "modified":
            if isinstance(discount, str):
                raise ValueError(
                    f"KneserNey: expected a discount or 'modified', got {discount!r}"
                )
            if not 0 < discount <= 1:
                raise ValueError(
                    f"KneserNey: expected 0 < discount <= 1, got {discount!r}"
                )
            discount = float(discount)
        self.discount = discount
        self.vocab_size = None  # known once fitted

    def __repr__(self):
        return f"KneserNey(order={self.order}, discount={self.discount!r})"

    def fit(self, ids, vocab_size):
        """Count the n-grams of one training sequence.

        Parameters
        ----------
        ids : array of int, of shape (N,)
            Training tokens in ``[0, vocab_size)``, at least `order` of them. For other
            tokens see `rnnlib.text.Vocabulary`.
        vocab_size : int
            Number of tokens V.

        Returns
        -------
        KneserNey
            The model itself; `discounts` holds the three of each order.

        Raises
        ------
        TypeError
            If the ids are not integers.
        ValueError
            If an id is out of range, or there are fewer ids than `order`.
        """
        V = check_size(self, "vocab_size", vocab_size)
        ids = _checked(self, ids, V)
        N = len(ids)
        if N < self.order:
            raise ValueError(f"{self}: expected at least {self.order} ids, got {N}")

        # An n-gram is a pair: the number of its last n - 1 tokens and the token before
        # them. Its key stays below N * V, whatever the order. `number[j]` is the number
        # of the n-gram that starts at j, its place among the sorted keys.
        self._keys, contexts = [], []
        number = np.zeros(N + 1, np.int64)  # there is one 0-gram
        for n in range(1, self.order + 1):
            keys = number[1:] * V + ids[: N - n + 1]  # (N - n + 1,)
            shorter = number[:-1]
            unique, number = np.unique(keys, return_inverse=True)
            context = np.empty(len(unique), np.int64)
            context[number] = shorter  # the n-gram without its last token
            self._keys.append(unique)
            contexts.append(context)

        # From the highest order down: occurrences there, different predecessors below.
        counts = np.bincount(number)
        self._counts, self._totals, self._taken = [], [], []
        self.discounts = []
        for n in range(self.order, 0, -1):
            size = len(self._keys[n - 2]) if n > 1 else 1  # number of contexts
            context = contexts[n - 1]
            discounts = self._discounts(counts)
            taken = discounts[np.minimum(counts, 3)]
            self.discounts.insert(0, tuple(discounts[1:].tolist()))
            self._counts.insert(0, counts - taken)
            self._totals.insert(0, np.bincount(context, counts, size))
            self._taken.insert(0, np.bincount(context, taken, size))
            counts = np.bincount(self._keys[n - 1] // V, minlength=size)
        self.vocab_size = V
        return self

    def log2_probs(self, ids, history=None):
        """Log probability of each token, given the ones before it.

        Parameters
        ----------
        ids : array of int, of shape (N,)
        history : array of int, of shape (M,), optional
            What came before. Default: nothing, so the first tokens are predicted from
            shorter contexts.

        Returns
        -------
        ndarray of float64, of shape (N,)
            Bits, negative.

        Raises
        ------
        TypeError
            If the ids are not integers.
        ValueError
            If an id is out of range, or `ids` is empty.
        RuntimeError
            Before `fit`.
        """
        history = self._history(history)
        ids = _checked(self, ids, self.vocab_size)
        all_ids = np.concatenate([history, ids])
        first = len(history)
        before = [
            all_ids[first - k : first - k + len(ids)] for k in range(1, self.order)
        ]
        return np.log2(self._probabilities(ids, before))

    def bits_per_token(self, ids):
        """Mean cross-entropy of a text, in bits per token.

        Parameters
        ----------
        ids : array of int, of shape (N,)

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As `log2_probs`.
        """
        return float(-self.log2_probs(ids).mean())

    def distribution(self, history=()):
        """Probability of every token after a history.

        Parameters
        ----------
        history : array of int, of shape (M,), default=()
            Only its last `order - 1` tokens matter.

        Returns
        -------
        ndarray of float64, of shape (V,)
            Positive; sums to 1.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As `log2_probs`.
        """
        history = self._history(history)
        before = [history[-k, None] for k in range(1, self.order)]  # (1,) each
        return self._probabilities(np.arange(self.vocab_size), before)

    def _probabilities(self, token, before):
        """p(token | before), (N,): before[k - 1] is k places before; -1 for none."""
        p = np.full(len(token), 1 / self.vocab_size)
        context = np.zeros(1, np.int64)
        gram = self._find(1, context, token)
        for n in range(1, self.order + 1):
            if n > 1:  # both reach one token further back
                context = self._find(n - 1, context, before[n - 2])
                gram = self._find(n, gram, before[n - 2])
            total = np.where(context >= 0, self._totals[n - 1][context], 0)
            count = np.where(gram >= 0, self._counts[n - 1][gram], 0)
            seen = total > 0
            longer = count + self._taken[n - 1][context] * p
            p = np.where(seen, longer / np.where(seen, total, 1), p)
        return p

    def _discounts(self, counts):
        """What is taken from a count of 0, of 1, of 2 and of more, (4,)."""
        if self.discount != "modified":
            return np.array([0.0, *[self.discount] * 3])
        n1, n2, n3, n4 = np.bincount(np.minimum(counts, 5), minlength=6)[1:5]
        if min(n1, n2, n3, n4) == 0:
            return np.array([0.0, 0.75, 0.75, 0.75])
        y = n1 / (n1 + 2 * n2)
        found = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
        return np.array([0.0, *np.clip(found, 0.01, (1, 2, 3))])

    def _find(self, n, shorter, token):
        """Numbers of the n-grams made of a token and a shorter one; -1: not seen."""
        keys = self._keys[n - 1]
        wanted = shorter * self.vocab_size + token
        place = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        found = (keys[place] == wanted) & (shorter >= 0) & (token >= 0)
        return np.where(found, place, -1)

    def _history(self, history):
        """The last order - 1 tokens, (order - 1,), with -1 where there is none."""
        if self.vocab_size is None:
            raise RuntimeError(f"{self}: call fit first")
        length = self.order - 1
        none = np.full(length, -1)
        if history is None or len(history) == 0:
            return none
        known = _checked(self, history, self.vocab_size, name="history")
        return np.concatenate([none, known])[len(known) :]


def _checked(owner, ids, vocab_size, name="ids"):
    """The ids as an int64 array, or an error."""
    ids = np.asarray(ids)
    check_shape(owner, name, ids, ("N",))
    check_ids(owner, ids, 0, vocab_size, name=name)
    return ids.astype(np.int64)
