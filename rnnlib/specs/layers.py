"""The layers without a state: Embedding, Dense, Dropout and LayerNorm."""

import numpy as np

from rnnlib import weights
from rnnlib.checks import check_choice, check_number, check_size
from rnnlib.specs.base import Spec

ACTIVATIONS = ("tanh", "relu", "leaky_relu", "sigmoid")


class EmbeddingSpec(Spec):
    """A table with one row of ``dim`` numbers per id: ids (B, T) -> (B, T, dim).

    Parameters
    ----------
    vocab_size : int
        V; ids lie in [0, V).
    dim : int
        D, the length of a row.
    seed : int, optional
        Of the initial values, uniform on ±0.05 as in Keras.
    dtype : {"float32", "float64"}, default="float32"

    Attributes
    ----------
    W : array of shape (V, D)
    """

    sizes = ("vocab_size", "dim")

    def __init__(self, vocab_size, dim, *, seed=None, dtype="float32"):
        super().__init__()
        self.vocab_size = check_size("Embedding", "vocab_size", vocab_size)
        self.dim = check_size("Embedding", "dim", dim)
        self._create(seed, dtype)

    def shapes(self):
        return {"W": (self.vocab_size, self.dim)}

    def _initial(self, rng):
        return {"W": rng.uniform(-0.05, 0.05, (self.vocab_size, self.dim))}

    def input_shape(self):
        return (None, None)

    def output_shape(self, shape):
        return (*shape, self.dim)


class DenseSpec(Spec):
    """``y = activation(x W + b)``: x (…, I) -> (…, O), the same at every time step.

    Parameters
    ----------
    input_size, output_size : int
        I and O.
    activation : {None, "tanh", "relu", "leaky_relu", "sigmoid", "softmax"}
        None leaves ``x W + b`` as it is.
    seed : int, optional
        Of the initial values: W Glorot uniform, b zero.
    dtype : {"float32", "float64"}, default="float32"

    Attributes
    ----------
    W : array of shape (I, O)
    b : array of shape (O,)
    """

    sizes = ("input_size", "output_size")

    def __init__(
        self, input_size, output_size, activation=None, *, seed=None, dtype="float32"
    ):
        super().__init__()
        self.input_size = check_size("Dense", "input_size", input_size)
        self.output_size = check_size("Dense", "output_size", output_size)
        choices = (None, *ACTIVATIONS, "softmax")
        self.activation = check_choice(self, "activation", activation, choices)
        self._create(seed, dtype)

    def shapes(self):
        return {"W": (self.input_size, self.output_size), "b": (self.output_size,)}

    def _initial(self, rng):
        W = weights.glorot(rng, self.input_size, self.output_size)
        return {"W": W, "b": np.zeros(self.output_size)}

    def input_shape(self):
        return (None, self.input_size)

    def output_shape(self, shape):
        return (*shape[:-1], self.output_size)


class DropoutSpec(Spec):
    """Zero each entry with probability ``p`` while training, scale the rest by 1/(1-p).

    The two engines draw from their own generators: this is the one layer whose output
    differs between them.

    Parameters
    ----------
    p : float
        In [0, 1).
    seed : int, optional
        Of the masks in NumPy; torch uses ``torch.manual_seed``.
    """

    sizes = ("p",)

    def __init__(self, p, *, seed=None):
        super().__init__()
        p = check_number("Dropout", "p", p, lambda p: 0 <= p < 1, "in [0, 1)")
        self.p = float(p)
        self.reset(np.random.default_rng(seed))

    def _initial(self, rng):
        return {}


class LayerNormSpec(Spec):
    """``y = g (x - mean) / sqrt(var + eps) + b`` over the last axis.

    Parameters
    ----------
    size : int
        D, the length of the last axis.
    eps : float, default=1e-5
    dtype : {"float32", "float64"}, default="float32"

    Attributes
    ----------
    g, b : array of shape (D,)
        Gain, 1 at first, and bias, 0 at first.

    References
    ----------
    Ba, Kiros and Hinton, 2016.
    """

    sizes = ("size",)

    def __init__(self, size, eps=1e-5, *, dtype="float32"):
        super().__init__()
        self.size = check_size("LayerNorm", "size", size)
        self.eps = check_number(self, "eps", eps, lambda e: e > 0, "> 0")
        self._create(None, dtype)

    def shapes(self):
        return {"g": (self.size,), "b": (self.size,)}

    def _initial(self, rng):
        return {"g": np.ones(self.size), "b": np.zeros(self.size)}

    def input_shape(self):
        return (None, self.size)
