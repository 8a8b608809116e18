"""Layers made of layers: their backward passes are those of their parts, joined."""

import numpy as np

from rnnlib import specs
from rnnlib.checks import check_shape, check_type
from rnnlib.numpy.layers import Layer


class Composite(Layer):
    """A layer made of named layers; its names carry theirs in front."""

    engine = Layer

    def _adopt(self, layers):
        self._parts = layers

    def _joined(self, attribute):
        return {
            f"{name}.{key}": array
            for name, layer in self._parts.items()
            for key, array in getattr(layer, attribute).items()
        }

    @property
    def params(self):
        """The parameter arrays by name, such as ``1.W_xh``."""
        return self._joined("params")

    @property
    def grads(self):
        """The last gradients under the names of ``params``."""
        return self._joined("grads")


class Bidirectional(specs.BidirectionalSpec, Composite):
    __doc__ = specs.BidirectionalSpec.__doc__

    def __call__(self, x, state=None, lengths=None):
        states = self._states(state)
        (y_f, s_f), (y_b, s_b) = (
            layer(x, s, lengths)
            for layer, s in zip(self.directions, states, strict=True)
        )
        y = np.concatenate([y_f, y_b], axis=-1)
        self._cache = y.shape
        return y, (s_f, s_b)

    def backward(self, dy, dstate=None):
        """Backpropagation through time in both layers.

        Parameters
        ----------
        dy : ndarray of the shape of y
        dstate : pair of states, optional
            Gradient that reaches the returned state.

        Returns
        -------
        dx : ndarray of shape (B, T, I)
            0 past each length. Also sets ``grads`` and ``dstate``, the gradient that
            reaches the initial state.
        """
        forward, backward = self.directions
        H = self.hidden_size
        self._check("dy", dy, self._take_cache())
        d_f, d_b = self._states(dstate, name="dstate")
        dx = forward.backward(np.ascontiguousarray(dy[..., :H]), d_f)
        dx = dx + backward.backward(np.ascontiguousarray(dy[..., H:]), d_b)
        self.dstate = (forward.dstate, backward.dstate)
        return dx


class Residual(specs.ResidualSpec, Composite):
    __doc__ = specs.ResidualSpec.__doc__

    def __call__(self, x, state=None, lengths=None):
        result = self._run(x, state, lengths)
        self._cache = x.shape, lengths
        return result

    def backward(self, dy, dstate=None):
        """Backpropagate through the layer and past it.

        Parameters
        ----------
        dy : ndarray of the shape of y
        dstate : like the state, optional
            Gradient that reaches the returned state, if the layer has one.

        Returns
        -------
        dx : ndarray of the shape of x
            The layer's, plus dy where x is no padding. Also fills the layer's grads,
            and sets ``dstate`` as the layer does.
        """
        shape, lengths = self._take_cache()
        check_type(self, "dy", dy, np.ndarray, "a NumPy array")
        check_shape(self, "dy", dy, shape)
        if not self.has_state:
            return dy + self.layer.backward(dy)
        dx = self.layer.backward(dy, dstate)
        self.dstate = self.layer.dstate
        return dx + (dy if lengths is None else self._without_padding(dy, lengths))


class Sequential(specs.SequentialSpec, Composite):
    __doc__ = specs.SequentialSpec.__doc__

    def __call__(self, x, lengths=None, state=None, return_state=False):
        return self._run(x, lengths, state, return_state)

    def backward(self, dy, dstate=None):
        """Backpropagate through all layers and fill their grads.

        Parameters
        ----------
        dy : ndarray of the shape of y
        dstate : list, optional
            Gradient that reaches the returned state, one entry per layer.

        Returns
        -------
        dx : ndarray of the shape of x, or None
            Gradient of the model's input; ids have none. Also sets ``dstate``, the
            gradient that reaches the initial state, one entry per layer.
        """
        dstate = self._entries(dstate, name="dstate")
        for k, layer in reversed(list(enumerate(self.layers))):
            if layer.has_state:
                dy = layer.backward(dy, dstate[k])
                dstate[k] = layer.dstate
            else:
                dy = layer.backward(dy)
        self.dstate = dstate
        return dy
