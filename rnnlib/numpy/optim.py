"""Optimizers: each reads ``model.grads`` and changes ``model.params`` in place."""

import math

import numpy as np

from rnnlib.checks import check_state_dict, check_type
from rnnlib.numpy.layers import Layer
from rnnlib.training import check_max_norm, check_settings


class _Optimizer:
    """Holds the model, the learning rate and one slot per parameter and moment."""

    moments = ()

    def __init__(self, model, lr, **settings):
        name = type(self).__name__
        check_type(name, "model", model, Layer, "a NumPy layer or Sequential")
        check_settings(name, lr=lr, **settings)
        self.model = model
        self.lr = lr
        self.steps = 0
        self.slots = {
            f"{m}.{name}": np.zeros_like(p)
            for m in self.moments
            for name, p in model.params.items()
        }

    def step(self):
        """Change every parameter once, by the gradients of the last ``backward``."""
        grads = self.model.grads
        if missing := self.model.params.keys() - grads.keys():
            raise RuntimeError(
                f"{type(self).__name__}: step needs a backward pass before it; "
                f"no gradient of {', '.join(sorted(missing))}"
            )
        self.steps += 1
        for name, p in self.model.params.items():
            slots = [self.slots[f"{m}.{name}"] for m in self.moments]
            self._update(p, grads[name], *slots)

    def state_dict(self):
        """Arrays to store by name: the moments, and the count of steps.

        Returns
        -------
        dict of str to ndarray
            ``steps`` of shape (), and each moment of the shape of its parameter.
        """
        slots = {k: v.copy() for k, v in self.slots.items()}
        return {**slots, "steps": np.array(self.steps)}

    def load_state_dict(self, state):
        """Take back what `state_dict` gave.

        Parameters
        ----------
        state : dict of str to ndarray
            Each of the shape that `state_dict` gives.

        Raises
        ------
        ValueError
            Naming every key that is missing, unknown or of another shape.
        """
        expected = {k: v.shape for k, v in self.slots.items()} | {"steps": ()}
        check_state_dict(type(self).__name__, expected, state)
        self.steps = int(state["steps"])
        for name, slot in self.slots.items():
            slot[...] = state[name]


class SGD(_Optimizer):
    """Stochastic gradient descent: ``v = momentum v + g``, ``p = p - lr v``.

    Parameters
    ----------
    model : layer or Sequential
    lr : float
        Learning rate, above 0.
    momentum : float, default=0.0
        In [0, 1).

    Raises
    ------
    TypeError, ValueError
        If a setting is not a number, or out of range.

    Examples
    --------
    >>> from rnnlib import numpy as rl
    >>> layer = rl.Dense(1, 1, seed=0)
    >>> layer.grads = {"W": np.ones((1, 1)), "b": np.ones(1)}
    >>> rl.SGD(layer, lr=0.5).step()
    >>> layer.params["b"]
    array([-0.5], dtype=float32)
    """

    moments = ("v",)

    def __init__(self, model, lr, momentum=0.0):
        super().__init__(model, lr, momentum=momentum)
        self.momentum = momentum

    def _update(self, p, g, v):
        v *= self.momentum
        v += g
        p -= self.lr * v


class Adam(_Optimizer):
    """Adam: each entry's step is scaled by running moments of its gradient.

    Parameters
    ----------
    model : layer or Sequential
    lr : float, default=1e-3
        Learning rate, above 0.
    betas : pair of float, default=(0.9, 0.999)
        Decay of the first and the second moment, each in [0, 1).
    eps : float, default=1e-8
        Above 0; keeps the division from one by zero.

    Raises
    ------
    TypeError, ValueError
        If a setting is not a number, or out of range.

    References
    ----------
    Kingma and Ba, 2015, algorithm 1.
    """

    moments = ("m", "v")

    def __init__(self, model, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
        super().__init__(model, lr, betas=betas, eps=eps)
        self.betas, self.eps = betas, eps

    def _update(self, p, g, m, v):
        b1, b2 = self.betas
        m *= b1
        m += (1 - b1) * g
        v *= b2
        v += (1 - b2) * g * g
        # Both moments start at 0; dividing by 1 - bᵗ takes that bias out.
        step = self.lr / (1 - b1**self.steps)
        p -= step * m / (np.sqrt(v) / np.sqrt(1 - b2**self.steps) + self.eps)


def clip_grad_norm(model, max_norm):
    """Scale all gradients so that their joint 2-norm is at most ``max_norm``.

    Parameters
    ----------
    model : layer or Sequential
        After ``backward``.
    max_norm : float
        Above 0; infinity measures without clipping.

    Returns
    -------
    float
        The norm before clipping.

    Raises
    ------
    TypeError, ValueError
        If ``max_norm`` is not a number, or not above 0.

    References
    ----------
    Pascanu, Mikolov and Bengio, 2013, algorithm 1.
    """
    check_max_norm(max_norm)
    grads = list(model.grads.values())
    norm = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in grads))
    scale = max_norm / (norm + 1e-6)  # as torch.nn.utils.clip_grad_norm_
    if scale < 1:
        for g in grads:
            g *= scale
    return norm
