"""Optimizers: each reads ``model.grads`` and changes ``model.params`` in place."""

import numpy as np


class _Optimizer:
    """Holds the model, the learning rate and one slot per parameter and moment."""

    moments = ()

    def __init__(self, model, lr):
        if not lr > 0:
            raise ValueError(f"{type(self).__name__}: expected lr > 0, got {lr!r}")
        self.model = model
        self.lr = lr
        self.steps = 0
        self.slots = {
            f"{m}.{name}": np.zeros_like(p)
            for m in self.moments
            for name, p in model.params.items()
        }

    def step(self):
        """Change every parameter once."""
        self.steps += 1
        grads = self.model.grads
        for name, p in self.model.params.items():
            slots = [self.slots[f"{m}.{name}"] for m in self.moments]
            self._update(p, grads[name], *slots)

    def state_dict(self):
        """Arrays to store: the moments, and the count of steps."""
        slots = {k: v.copy() for k, v in self.slots.items()}
        return {**slots, "steps": np.array(self.steps)}

    def load_state_dict(self, state):
        """Take back what `state_dict` gave."""
        self.steps = int(state["steps"])
        for name, slot in self.slots.items():
            slot[...] = state[name]


class SGD(_Optimizer):
    """Stochastic gradient descent: ``v = momentum v + g``, ``p = p - lr v``.

    Parameters
    ----------
    model : layer or Sequential
    lr : float
    momentum : float, default=0.0
        In [0, 1).

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
        super().__init__(model, lr)
        if not 0 <= momentum < 1:
            raise ValueError(f"SGD: expected momentum in [0, 1), got {momentum!r}")
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
    betas : pair of float, default=(0.9, 0.999)
        Decay of the first and the second moment.
    eps : float, default=1e-8

    References
    ----------
    Kingma and Ba, 2015, algorithm 1.
    """

    moments = ("m", "v")

    def __init__(self, model, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
        super().__init__(model, lr)
        if not all(0 <= b < 1 for b in betas):
            raise ValueError(f"Adam: expected betas in [0, 1), got {betas!r}")
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

    References
    ----------
    Pascanu, Mikolov and Bengio, 2013, algorithm 1.
    """
    if not max_norm > 0:
        raise ValueError(f"clip_grad_norm: expected max_norm > 0, got {max_norm!r}")
    grads = list(model.grads.values())
    norm = float(np.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in grads)))
    scale = max_norm / (norm + 1e-6)  # as torch.nn.utils.clip_grad_norm_
    if scale < 1:
        for g in grads:
            g *= scale
    return norm
