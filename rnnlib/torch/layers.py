"""The layers as ``nn.Module``s; their constructors are those of `rnnlib.specs`.

Parameters have the names, shapes and, from the same seed, the initial values of the
NumPy engine. Any torch optimizer, device, ``torch.save`` and DDP work on them.
"""

import numpy as np
import torch
from torch import nn

from rnnlib import specs
from rnnlib.checks import (
    check_dtype,
    check_floats,
    check_ids,
    check_lengths,
    check_shape,
    check_state_dict,
    check_type,
    dtype_name,
)
from rnnlib.torch.functional import ACTIVATIONS


def as_tensor(array, device=None):
    """Tensor of a tensor or array; read-only and reversed arrays are copied first."""
    if not isinstance(array, torch.Tensor):
        array = torch.from_numpy(np.require(array, requirements="CW"))
    return array.to(device)


class Layer(nn.Module):
    """What every torch layer adds to ``nn.Module``: our errors and state dicts."""

    def _store(self, values):
        for name, value in values.items():
            value = torch.from_numpy(value.astype(self.dtype))
            if name in self._parameters:
                with torch.no_grad():
                    self._parameters[name].copy_(value)
            else:
                self.register_parameter(name, nn.Parameter(value))

    def _check(self, name, tensor, shape):
        check_type(self, name, tensor, torch.Tensor, "a torch.Tensor")
        check_shape(self, name, tensor, shape)
        if torch.is_autocast_enabled(tensor.device.type):
            check_floats(self, name, tensor)  # each operation casts as it needs
        else:
            check_dtype(self, name, tensor, self._dtype_now())

    def _dtype_now(self):
        """The dtype of the parameters, which ``.double()`` may have changed."""
        for p in self.parameters():
            return dtype_name(p)
        return self.dtype

    def _valid(self, x, lengths):
        """(B, T) mask that is False where the steps of x (B, T, …) are padding."""
        B, T = x.shape[:2]
        lengths = torch.from_numpy(check_lengths(self, lengths, B, T))
        return torch.arange(T) < lengths[:, None]

    def _without_padding(self, x, lengths):
        valid = self._valid(x, lengths)[..., None]  # (B, T, 1)
        return torch.where(valid.to(x.device), x, 0)

    def load_state_dict(self, state, strict=True, assign=False):
        """Copy values into the parameters.

        Parameters
        ----------
        state : dict of str to array or tensor
            From any engine or from `rnnlib.weights`; floats are cast to ``dtype``.
        strict, assign : bool
            As in ``nn.Module``.

        Returns
        -------
        NamedTuple
            As ``nn.Module`` gives it: the keys that were missing or unexpected.

        Raises
        ------
        ValueError
            Naming every key that is missing, unknown or of another shape.
        """
        if strict:
            own = {k: tuple(v.shape) for k, v in self.state_dict().items()}
            check_state_dict(self, own, state)
        state = {k: as_tensor(v) for k, v in state.items()}
        return super().load_state_dict(state, strict=strict, assign=assign)


class Embedding(specs.EmbeddingSpec, Layer):
    __doc__ = specs.EmbeddingSpec.__doc__

    def forward(self, ids):
        check_type(self, "ids", ids, torch.Tensor, "a torch.Tensor")
        check_shape(self, "ids", ids, ("B", "T")[: max(1, ids.ndim)])
        check_ids(self, ids, 0, self.vocab_size)
        return nn.functional.embedding(ids.long(), self.W)  # (B, T, D)


class Dense(specs.DenseSpec, Layer):
    __doc__ = specs.DenseSpec.__doc__

    def forward(self, x):
        free = ("B",) if getattr(x, "ndim", 0) < 3 else ("B", "T")
        self._check("x", x, (*free, self.input_size))
        y = x @ self.W + self.b
        return ACTIVATIONS[self.activation](y) if self.activation else y


class Dropout(specs.DropoutSpec, Layer):
    __doc__ = specs.DropoutSpec.__doc__

    def reset(self, rng):
        """Draw nothing from ``rng``: masks come from torch's own generator."""

    def forward(self, x):
        check_type(self, "x", x, torch.Tensor, "a torch.Tensor")
        check_floats(self, "x", x)
        return nn.functional.dropout(x, self.p, self.training)


class LayerNorm(specs.LayerNormSpec, Layer):
    __doc__ = specs.LayerNormSpec.__doc__

    def forward(self, x):
        free = ("B",) if getattr(x, "ndim", 0) < 3 else ("B", "T")
        self._check("x", x, (*free, self.size))
        return nn.functional.layer_norm(x, (self.size,), self.g, self.b, self.eps)
