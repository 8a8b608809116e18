"""Layers: parameters, a forward pass and a backward pass, side by side.

A layer keeps what its last forward pass needs for its backward pass. ``backward(dy)``
returns the gradient of the input and fills ``grads``, which has the names of
``params``; it overwrites what was there and can be called once after each forward pass.
"""

import numpy as np

from rnnlib import specs
from rnnlib.checks import (
    check_dtype,
    check_floats,
    check_ids,
    check_lengths,
    check_shape,
    check_state_dict,
    check_type,
)
from rnnlib.numpy.activations import ACTIVATIONS, d_softmax, softmax


class Layer:
    """What every NumPy layer has: params, grads, a training flag, a state dict."""

    training = True
    _parts = {}  # the layers that it is made of, by name
    _cache = None  # what a forward pass leaves for its backward pass

    def _check(self, name, array, shape):
        check_type(self, name, array, np.ndarray, "a NumPy array")
        check_shape(self, name, array, shape)
        check_dtype(self, name, array, self.dtype)

    def _take_cache(self):
        if self._cache is None:
            raise RuntimeError(f"{self}: backward needs a forward pass before it")
        cache, self._cache = self._cache, None
        return cache

    def train(self, mode=True):
        """Switch training behaviour (dropout) to ``mode``; returns the layer."""
        self.training = bool(mode)
        for layer in self._parts.values():
            layer.train(mode)
        return self

    def eval(self):
        """Switch training behaviour off; returns the layer."""
        return self.train(False)

    def _valid(self, x, lengths):
        """(B, T) mask that is False where the steps of x (B, T, …) are padding."""
        B, T = x.shape[:2]
        return np.arange(T) < check_lengths(self, lengths, B, T)[:, None]

    def _without_padding(self, x, lengths):
        valid = self._valid(x, lengths)[..., None]  # (B, T, 1)
        return np.where(valid, x, x.dtype.type(0))

    def state_dict(self):
        """Copies of all parameters by name, such as ``1.W_xh``."""
        return {name: p.copy() for name, p in self.params.items()}

    def load_state_dict(self, state):
        """Copy values into the parameters.

        Parameters
        ----------
        state : dict of str to array
            From any engine or from `rnnlib.weights`; floats are cast to ``dtype``.

        Raises
        ------
        ValueError
            Naming every key that is missing, unknown or of another shape.
        """
        params = self.params
        check_state_dict(self, {k: p.shape for k, p in params.items()}, state)
        for name, value in state.items():
            if hasattr(value, "detach"):
                value = value.detach().cpu().numpy()
            params[name][...] = value


class Leaf(Layer):
    """A layer with parameters of its own."""

    def __init__(self):
        self.params = {}
        self.grads = {}

    def _store(self, values):
        for name, value in values.items():
            self.params[name] = value.astype(self.dtype)


class Embedding(specs.EmbeddingSpec, Leaf):
    __doc__ = specs.EmbeddingSpec.__doc__

    def __call__(self, ids):
        check_type(self, "ids", ids, np.ndarray, "a NumPy array")
        check_shape(self, "ids", ids, ("B", "T")[: max(1, ids.ndim)])
        check_ids(self, ids, 0, self.vocab_size)
        self._cache = ids
        return self.params["W"][ids]  # (B, T, D)

    def backward(self, dy):
        """Fill ``grads`` from ``dy``; ids have no gradient, so it returns None."""
        ids = self._take_cache()
        self._check("dy", dy, (*ids.shape, self.dim))
        ids, dy = ids.ravel(), dy.reshape(-1, self.dim)
        # A row's gradient is the sum over all places where its id stands.
        order = np.argsort(ids, kind="stable")
        rows, starts = np.unique(ids[order], return_index=True)
        dW = np.zeros_like(self.params["W"])
        dW[rows] = np.add.reduceat(dy[order], starts, axis=0)
        self.grads = {"W": dW}


class Dense(specs.DenseSpec, Leaf):
    __doc__ = specs.DenseSpec.__doc__

    def __call__(self, x):
        shape = getattr(x, "shape", ())
        free = ("B",) if len(shape) < 3 else ("B", "T")
        self._check("x", x, (*free, self.input_size))
        y = x @ self.params["W"]
        y += self.params["b"]
        if self.activation == "softmax":
            y = softmax(y)
        elif self.activation:
            ACTIVATIONS[self.activation][0](y, out=y)
        self._cache = x, y
        return y

    def backward(self, dy):
        """Gradient of x from ``dy``, the gradient of y; fills ``grads``."""
        x, y = self._take_cache()
        self._check("dy", dy, y.shape)
        if self.activation == "softmax":
            dy = d_softmax(y, dy)
        elif self.activation:
            dy = dy * ACTIVATIONS[self.activation][1](y)
        flat = dy.reshape(-1, self.output_size)
        self.grads = {
            "W": x.reshape(-1, self.input_size).T @ flat,
            "b": flat.sum(axis=0),
        }
        return dy @ self.params["W"].T


class Dropout(specs.DropoutSpec, Leaf):
    __doc__ = specs.DropoutSpec.__doc__

    def reset(self, rng):
        self.rng = rng.spawn(1)[0]  # a stream of its own: other layers draw the same

    def __call__(self, x):
        check_type(self, "x", x, np.ndarray, "a NumPy array")
        check_floats(self, "x", x)
        keep = 1.0
        if self.training and self.p:
            keep = (self.rng.random(x.shape) >= self.p).astype(x.dtype)
            keep /= 1 - self.p
        self._cache = keep, x.shape
        return x * keep if self.training else x

    def backward(self, dy):
        """Gradient of the input: ``dy`` where it was kept, scaled alike."""
        keep, shape = self._take_cache()
        check_shape(self, "dy", dy, shape)
        return dy * keep


class LayerNorm(specs.LayerNormSpec, Leaf):
    __doc__ = specs.LayerNormSpec.__doc__

    def __call__(self, x):
        shape = getattr(x, "shape", ())
        free = ("B",) if len(shape) < 3 else ("B", "T")
        self._check("x", x, (*free, self.size))
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self.eps)
        xhat = centred * scale
        self._cache = xhat, scale
        return self.params["g"] * xhat + self.params["b"]

    def backward(self, dy):
        """Gradient of x from ``dy``, the gradient of y; fills ``grads``."""
        xhat, scale = self._take_cache()
        self._check("dy", dy, xhat.shape)
        axes = tuple(range(dy.ndim - 1))
        self.grads = {"g": (dy * xhat).sum(axis=axes), "b": dy.sum(axis=axes)}
        d = dy * self.params["g"]
        # The mean and the variance depend on x too: take out what they explain.
        along = (d * xhat).mean(axis=-1, keepdims=True)
        return scale * (d - d.mean(axis=-1, keepdims=True) - xhat * along)
