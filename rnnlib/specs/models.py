"""Layers put together: a sum with the input, and one after another."""

import numpy as np

from rnnlib.checks import check_type, shape_text, type_name
from rnnlib.specs.base import CompositeSpec
from rnnlib.summary import summary


class ResidualSpec(CompositeSpec):
    """A layer whose input is added to its output: ``y = x + layer(x)``.

    Called as ``layer(x)`` around a layer without a state, it returns y. Around a
    recurrent layer, or a Sequential that holds one, it is called as
    ``layer(x, state=None, lengths=None)`` and returns ``(y, state)``; x counts as 0
    past a length. Both x and y are (B, I) or (B, T, I).

    Parameters
    ----------
    layer : layer of the same engine, or Sequential
        Its outputs have the shape of its inputs.

    Attributes
    ----------
    layer.W, layer.0.W_xh, … : arrays
        Parameters of the layer, of the shapes that they have there.

    References
    ----------
    He, Zhang, Ren and Sun, 2016.
    """

    def __init__(self, layer):
        super().__init__()
        text = f"a layer of {self.engine.__module__}"
        check_type("Residual", "layer", layer, self.engine, text)
        shape = layer.input_shape()
        if shape is not None and layer.output_shape(shape) != shape:
            raise ValueError(
                "Residual: expected a layer with outputs of the shape of its inputs, "
                f"got {layer}: {shape_text(shape)} -> "
                f"{shape_text(layer.output_shape(shape))}"
            )
        self._adopt({"layer": layer})

    @property
    def layer(self):
        """The layer inside."""
        return self._parts["layer"]

    def __repr__(self):
        return f"Residual({self.layer})"

    def _run(self, x, state, lengths):
        layer = self.layer
        if not layer.has_state:
            if state is not None or lengths is not None:
                raise ValueError(
                    f"{self}: expected neither state nor lengths, as {layer} has no "
                    "state"
                )
            return x + layer(x)
        options = {"state": state, "lengths": lengths}
        if isinstance(layer, SequentialSpec):
            options["return_state"] = True
        y, after = layer(x, **options)
        # The layer knows what is padding; the sum has to be told.
        return y + (x if lengths is None else self._without_padding(x, lengths)), after

    def input_shape(self):
        return self.layer.input_shape()


class SequentialSpec(CompositeSpec):
    """Layers one after another; the model of this library.

    ``model(x, lengths=None)`` returns y. Recurrent layers get ``lengths``; their states
    are dropped unless ``return_state=True``, which returns ``(y, state)`` with one
    entry per layer, None where a layer has none; hand it back as ``state=`` to go on.

    Parameters
    ----------
    *layers : layers of the same engine
        Each object at most once.
    seed : int, optional
        If given, all layers' initial values are drawn anew, in order, from one
        `numpy.random.Generator`: the same seed gives both engines the same model.
        Load weights after, not before.

    Examples
    --------
    >>> from rnnlib import numpy as rl
    >>> model = rl.Sequential(
    ...     rl.Embedding(1000, 64),
    ...     rl.LSTM(64, 128, return_sequences=False),
    ...     rl.Dense(128, 10),
    ...     seed=0,
    ... )
    >>> model(np.array([[3, 1, 4], [1, 5, 9]])).shape
    (2, 10)
    """

    title = "sequential"  # of the summary

    def __init__(self, *layers, seed=None):
        super().__init__()
        if not layers:
            raise ValueError("Sequential: expected at least one layer")
        for layer in layers:
            if not isinstance(layer, self.engine) or isinstance(layer, SequentialSpec):
                raise TypeError(
                    f"Sequential: expected layers of {self.engine.__module__} "
                    f"(and no Sequential among them), got {type_name(layer)}"
                )
        if len({id(layer) for layer in layers}) < len(layers):
            raise ValueError("Sequential: expected each layer object only once")
        self._adopt({str(k): layer for k, layer in enumerate(layers)})
        if seed is not None:
            self.reset(np.random.default_rng(seed))

    @property
    def layers(self):
        """The layers, in order."""
        return list(self._parts.values())

    def __repr__(self):
        return f"Sequential({', '.join(map(repr, self.layers))})"

    def input_shape(self):
        known = (layer.input_shape() for layer in self.layers)
        shape = next((s for s in known if s is not None), None)
        if shape is not None and self.has_state and len(shape) == 2 and shape[1]:
            return (None, *shape)  # a layer that takes (B, I) or (B, T, I) gets T
        return shape

    def output_shape(self, shape):
        for layer in self.layers:
            shape = layer.output_shape(shape)
        return shape

    def summary_rows(self):
        """Each layer with the shape of its output, for `rnnlib.summary`."""
        shape = self.input_shape() or (None, None)
        for layer in self.layers:
            shape = layer.output_shape(shape)
            yield layer, shape

    def summary(self):
        """Text table of layers, output shapes and parameter counts, as Keras prints.

        Returns
        -------
        str
        """
        return summary(self)

    def _entries(self, state, name="state"):
        """A state, or its gradient, as a list with one entry per layer, or raise."""
        layers = self.layers
        if state is None:
            return [None] * len(layers)
        check_type(self, name, state, tuple | list, "a list, one entry per layer")
        if len(state) != len(layers):
            raise ValueError(
                f"{self}: expected a {name} with {len(layers)} entries, "
                f"one per layer, got {len(state)}"
            )
        for k, (layer, entry) in enumerate(zip(layers, state, strict=True)):
            if entry is not None and not layer.has_state:
                raise ValueError(
                    f"{self}: expected entry {k} of the {name} to be None, as {layer} "
                    f"has no state, got {type_name(entry)}"
                )
        return list(state)

    def _run(self, x, lengths, state, return_state):
        layers = self.layers
        state = self._entries(state)
        features = len(getattr(x, "shape", ())) == 3
        if lengths is not None and features and not layers[0].has_state:
            # A recurrent layer skips the padding, but a Dense one in front does not,
            # and a NaN there times a gradient of 0 is a NaN.
            x = self._without_padding(x, lengths)
        after = [None] * len(layers)
        for k, layer in enumerate(layers):
            if layer.has_state:
                x, after[k] = layer(x, state=state[k], lengths=lengths)
            else:
                x = layer(x)
        return (x, after) if return_state else x

    def check_forwards(self, what):
        """Raise ValueError if a layer reads backwards, which ``what`` cannot serve."""
        for layer in self.layers:
            if layer.reads_backwards:
                raise ValueError(
                    f"{self}: {what} reads forwards; {layer} needs the whole sequence"
                )

    def step(self, x, state=None):
        """One time step, for generation and streams.

        Parameters
        ----------
        x : array of shape (B, I), or ids of shape (B,)
        state : list, optional
            What the step before returned; None at the beginning.

        Returns
        -------
        y : array of shape (B, O)
        state : list
            One entry per layer.

        Raises
        ------
        ValueError
            If a layer reads backwards: it needs the whole sequence at once.
        """
        self.check_forwards("step")
        y, state = self(x[:, None], state=state, return_state=True)
        whole = all(getattr(k, "return_sequences", True) for k in self.layers)
        return (y[:, 0] if whole else y), state
