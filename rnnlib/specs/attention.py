"""What an attention layer is, whichever way it scores."""

import numpy as np

from rnnlib import weights
from rnnlib.checks import check_choice, check_size
from rnnlib.specs.base import Spec

KINDS = ("dot", "scaled_dot", "additive")


class AttentionSpec(Spec):
    """Each query takes a weighted mean of the keys: what it finds, and where it looked.

    Called as ``attention(query, keys, lengths=None)``, it returns
    ``(context, weights)``: query is (B, U, Q), keys is (B, T, K), context is (B, U, K),
    weights is (B, U, T), not negative and summing to 1 over T. The values that are
    averaged are the keys themselves. ``lengths`` (B,) gives the valid keys of each
    row, 1..T; those past a length get weight 0, and whatever stands there counts as 0.

    Parameters
    ----------
    query_size, key_size : int
        Q and K.
    kind : {"dot", "scaled_dot", "additive"}, default="dot"
        How a query q and a key k are scored, before a softmax over the keys.
        "dot": ``q · k``, without parameters; Q and K must be equal. "scaled_dot":
        ``q · k / sqrt(K)``, for rows whose entries have variance 1; the outputs of a
        recurrent layer have much less. "additive": ``tanh(q W_q + k W_k + b) · v``,
        for any Q and K.
    hidden_size : int, optional
        A, the hidden units of "additive"; K when absent. The others have none.
    seed : int, optional
        Of the initial values: W_q, W_k and v Glorot uniform, b zero.
    dtype : {"float32", "float64"}, default="float32"

    Attributes
    ----------
    W_q : array of shape (Q, A), with ``kind="additive"`` only, as those below
    W_k : array of shape (K, A)
    b, v : array of shape (A,)

    References
    ----------
    Bahdanau, Cho and Bengio, 2015 (additive); Luong, Pham and Manning, 2015 (dot);
    Vaswani et al., 2017 (scaled_dot).

    Examples
    --------
    >>> from rnnlib import numpy as rl
    >>> keys = np.eye(2, dtype="float32")[None]
    >>> context, weights = rl.Attention(2, 2)(6 * keys[:, :1], keys)
    >>> weights.round(3)
    array([[[0.998, 0.002]]], dtype=float32)
    """

    sizes = ("query_size", "key_size")

    def __init__(
        self,
        query_size,
        key_size,
        kind="dot",
        *,
        hidden_size=None,
        seed=None,
        dtype="float32",
    ):
        super().__init__()
        self.query_size = check_size("Attention", "query_size", query_size)
        self.key_size = check_size("Attention", "key_size", key_size)
        self.kind = check_choice(self, "kind", kind, KINDS)
        if self.kind == "additive":
            hidden_size = self.key_size if hidden_size is None else hidden_size
            hidden_size = check_size(self, "hidden_size", hidden_size)
        elif hidden_size is not None:
            raise ValueError(f"{self}: expected hidden_size with kind='additive' only")
        elif self.query_size != self.key_size:
            raise ValueError(
                f"{self}: expected equal sizes with kind={kind!r}; make them so with a "
                "Dense layer, or use kind='additive'"
            )
        self.hidden_size = hidden_size
        self._scale = self.key_size**-0.5 if kind == "scaled_dot" else 1.0
        self._create(seed, dtype)

    def shapes(self):
        if self.kind != "additive":
            return {}
        Q, K, A = self.query_size, self.key_size, self.hidden_size
        return {"W_q": (Q, A), "W_k": (K, A), "b": (A,), "v": (A,)}

    def _initial(self, rng):
        if self.kind != "additive":
            return {}
        A = self.hidden_size
        return {
            "W_q": weights.glorot(rng, self.query_size, A),
            "W_k": weights.glorot(rng, self.key_size, A),
            "b": np.zeros(A),
            "v": weights.glorot(rng, A, 1)[:, 0],
        }

    def _check_inputs(self, query, keys, lengths):
        """Raise unless all fit; returns the (B, T) mask of valid keys, None if all."""
        self._check("query", query, ("B", "U", self.query_size))
        self._check("keys", keys, (query.shape[0], "T", self.key_size))
        if lengths is None:
            return None
        valid = self._valid(keys, lengths)
        return None if valid.all() else valid

    def output_shape(self, shape):
        return (*shape[:-1], self.key_size)
