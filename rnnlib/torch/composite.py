"""Layers made of layers; autograd joins their gradients."""

import torch

from rnnlib import specs
from rnnlib.torch.layers import Layer


class Composite(Layer):
    """A layer made of named layers; its names carry theirs in front."""

    engine = Layer

    def _adopt(self, layers):
        # Straight into the table: add_module refuses the name "forward", which is
        # also a method, but the parameters shall be called forward.W_xh.
        self._modules.update(layers)

    @property
    def _parts(self):
        return self._modules


class Bidirectional(specs.BidirectionalSpec, Composite):
    __doc__ = specs.BidirectionalSpec.__doc__

    def forward(self, x, state=None, lengths=None):
        states = self._states(state)
        (y_f, s_f), (y_b, s_b) = (
            layer(x, s, lengths)
            for layer, s in zip(self.directions, states, strict=True)
        )
        return torch.cat([y_f, y_b], dim=-1), (s_f, s_b)


class Residual(specs.ResidualSpec, Composite):
    __doc__ = specs.ResidualSpec.__doc__

    def forward(self, x, state=None, lengths=None):
        return self._run(x, state, lengths)


class Sequential(specs.SequentialSpec, Composite):
    __doc__ = specs.SequentialSpec.__doc__

    def forward(self, x, lengths=None, state=None, return_state=False):
        return self._run(x, lengths, state, return_state)
