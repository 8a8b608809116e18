"""What a layer is, apart from how it is computed.

Each class here holds one layer's constructor, its parameter shapes, initial values and
output shape. `rnnlib.numpy` and `rnnlib.torch` derive their layers from these classes
and add only the arithmetic, so that signatures, names, initial values and error
messages are the same in both. An engine supplies ``_store(values)``, which turns a dict
of float64 arrays into its kind of parameters, and ``_adopt(layers)``, which takes named
layers in as parts of another.
"""

import copy

import numpy as np

from rnnlib import weights
from rnnlib.checks import (
    FLOATS,
    check_choice,
    check_number,
    check_size,
    check_type,
    type_name,
)
from rnnlib.summary import summary

ACTIVATIONS = ("tanh", "relu", "leaky_relu", "sigmoid")


class Spec:
    """What all layers share: a text, a dtype, a seed."""

    dtype = "float32"
    has_state = False  # True for layers that carry a state through time

    def __repr__(self):
        sizes = ", ".join(str(getattr(self, name)) for name in self.sizes)
        return f"{type(self).__name__}({sizes})"

    sizes = ()  # the attributes that a reader wants to see in an error message

    def _create(self, seed, dtype):
        self.dtype = check_choice(self, "dtype", dtype, FLOATS)
        self.reset(np.random.default_rng(seed))

    def reset(self, rng):
        """Draw the initial values anew from ``rng``, a `numpy.random.Generator`."""
        self._store(self._initial(rng))

    def shapes(self):
        """Names and shapes of the parameters."""
        return {}

    def output_shape(self, shape):
        """Shape of the output for an input of ``shape``; None stands for any size."""
        return shape


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


class RecurrentSpec(Spec):
    """What RNN, LSTM and GRU share."""

    kind = None
    states = ("h",)  # names of the arrays in the state
    impls = ("auto",)  # an engine with several ways to compute lists them
    has_state = True
    reset_after = True
    sizes = ("input_size", "hidden_size")

    def _configure(
        self, input_size, hidden_size, return_sequences, reverse, impl, seed, dtype
    ):
        self.input_size = check_size(self.kind, "input_size", input_size)
        self.hidden_size = check_size(self.kind, "hidden_size", hidden_size)
        self.return_sequences = bool(return_sequences)
        self.reverse = bool(reverse)
        self.impl = check_choice(self, "impl", impl, self.impls)
        self.last_impl = None
        self.seed = seed
        self._create(seed, dtype)

    def shapes(self):
        return weights.shapes(
            self.kind, self.input_size, self.hidden_size, self.reset_after
        )

    def _initial(self, rng):
        return weights.initial(
            self.kind, rng, self.input_size, self.hidden_size, self.reset_after
        )

    def output_shape(self, shape):
        steps = (shape[1],) if self.return_sequences else ()
        return (shape[0], *steps, self.hidden_size)

    def check_state(self, state, B, name="state"):
        """Return ``state``, for a batch of ``B``, as a tuple of arrays, or raise.

        ``name`` is what the messages call it.
        """
        if len(self.states) == 1:
            state = (state,)
        else:
            _check_pair(self, name, state, "(h, c)")
        for part, array in zip(self.states, state, strict=True):
            self._check(f"{name} {part}", array, (B, self.hidden_size))
        return tuple(state)


def _check_pair(owner, name, value, text):
    check_type(owner, name, value, tuple | list, f"a pair {text}")
    if len(value) != 2:
        raise ValueError(
            f"{owner}: expected {name} to be a pair {text}, got {len(value)} entries"
        )


class RNNSpec(RecurrentSpec):
    """Plain (Elman) recurrent layer: ``h_t = act(x_t W_xh + h_{t-1} W_hh + b_h)``.

    Called as ``layer(x, state=None, lengths=None)``, it returns ``(y, state)``: x is
    (B, T, I), y is (B, T, H), the state is h of shape (B, H), zeros when absent.
    ``lengths`` (B,) gives each sequence's valid steps, 1..T, in any order: outputs past
    a length are 0 and the returned state is the one at the length.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    activation : {"tanh", "relu", "leaky_relu", "sigmoid"}, default="tanh"
        A leaky ReLU has slope 0.01 below zero.
    return_sequences : bool, default=True
        Return y for every step, or only the last state as y of shape (B, H).
    reverse : bool, default=False
        Read from the last valid step to the first. ``y[:, t]`` still belongs to
        ``x[:, t]``; the returned state is the one after the first step was read.
    impl : str, default="auto"
        torch: "loop" (the equations in Python, under autograd), "native" (ATen, oneDNN,
        cuDNN) or "auto" (native where it exists); ``last_impl`` names what ran.
        NumPy has one way to compute and takes only "auto".
    seed : int, optional
        Of the initial values: W_xh Glorot uniform, W_hh orthogonal, b_h zero.
    dtype : {"float32", "float64"}, default="float32"

    Attributes
    ----------
    W_xh : array of shape (I, H)
    W_hh : array of shape (H, H)
    b_h : array of shape (H,)

    References
    ----------
    Elman, 1990.
    """

    kind = "RNN"

    def __init__(
        self,
        input_size,
        hidden_size,
        activation="tanh",
        *,
        return_sequences=True,
        reverse=False,
        impl="auto",
        seed=None,
        dtype="float32",
    ):
        super().__init__()
        self.activation = check_choice("RNN", "activation", activation, ACTIVATIONS)
        self._configure(
            input_size, hidden_size, return_sequences, reverse, impl, seed, dtype
        )


class LSTMSpec(RecurrentSpec):
    """Long short-term memory, gate order i f g o.

    ``a = x_t W_xh + h_{t-1} W_hh + b_h`` holds four blocks; i, f and o are sigmoids of
    theirs, g is the tanh. Then ``c_t = f c_{t-1} + i g`` and ``h_t = o tanh(c_t)``.

    Called as ``layer(x, state=None, lengths=None)``, it returns ``(y, state)``: x is
    (B, T, I), y is (B, T, H), the state is ``(h, c)``, each (B, H), zeros when absent.
    ``lengths`` (B,) gives each sequence's valid steps, 1..T, in any order: outputs past
    a length are 0 and the returned state is the one at the length.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    return_sequences : bool, default=True
        Return y for every step, or only the last h as y of shape (B, H).
    reverse : bool, default=False
        Read from the last valid step to the first, as in `RNN`.
    impl : str, default="auto"
        How to compute, as in `RNN`.
    seed : int, optional
        Of the initial values: W_xh Glorot uniform and W_hh orthogonal gate by gate,
        b_h zero but 1 for the forget gate.
    dtype : {"float32", "float64"}, default="float32"

    Attributes
    ----------
    W_xh : array of shape (I, 4H)
    W_hh : array of shape (H, 4H)
    b_h : array of shape (4H,)

    References
    ----------
    Hochreiter and Schmidhuber, 1997; Gers, Schmidhuber and Cummins, 2000.
    """

    kind = "LSTM"
    states = ("h", "c")

    def __init__(
        self,
        input_size,
        hidden_size,
        *,
        return_sequences=True,
        reverse=False,
        impl="auto",
        seed=None,
        dtype="float32",
    ):
        super().__init__()
        self._configure(
            input_size, hidden_size, return_sequences, reverse, impl, seed, dtype
        )


class GRUSpec(RecurrentSpec):
    """Gated recurrent unit, gate order r z n.

    ``h_t = (1 - z) n + z h_{t-1}``: z near 1 keeps the state. The gates r and z are
    sigmoids of their blocks of ``x_t W_xh + h_{t-1} W_hh + b_h``; the candidate is
    ``n = tanh(x_t W_xn + b_n + r (h_{t-1} W_hn + b_hn))``, or, with
    ``reset_after=False``, ``n = tanh(x_t W_xn + b_n + (r h_{t-1}) W_hn)``.

    Called as ``layer(x, state=None, lengths=None)``, it returns ``(y, state)``: x is
    (B, T, I), y is (B, T, H), the state is h of shape (B, H), zeros when absent.
    ``lengths`` (B,) gives each sequence's valid steps, 1..T, in any order: outputs past
    a length are 0 and the returned state is the one at the length.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    reset_after : bool, default=True
        True: the reset gate multiplies ``h W_hn + b_hn``, as torch, cuDNN and Keras
        do. False: it multiplies ``h`` before the product, as in the paper.
    return_sequences : bool, default=True
        Return y for every step, or only the last state as y of shape (B, H).
    reverse : bool, default=False
        Read from the last valid step to the first, as in `RNN`.
    impl : str, default="auto"
        How to compute, as in `RNN`; "native" exists for ``reset_after=True`` only.
    seed : int, optional
        Of the initial values: W_xh Glorot uniform and W_hh orthogonal gate by gate,
        biases zero.
    dtype : {"float32", "float64"}, default="float32"

    Attributes
    ----------
    W_xh : array of shape (I, 3H)
    W_hh : array of shape (H, 3H)
    b_h : array of shape (3H,)
    b_hn : array of shape (H,), with ``reset_after=True`` only

    References
    ----------
    Cho et al., 2014.
    """

    kind = "GRU"

    def __init__(
        self,
        input_size,
        hidden_size,
        reset_after=True,
        *,
        return_sequences=True,
        reverse=False,
        impl="auto",
        seed=None,
        dtype="float32",
    ):
        super().__init__()
        self.reset_after = bool(reset_after)
        self._configure(
            input_size, hidden_size, return_sequences, reverse, impl, seed, dtype
        )


class BidirectionalSpec(Spec):
    """Two copies of a recurrent layer, one reading forwards, one backwards.

    Called as ``layer(x, state=None, lengths=None)``, it returns ``(y, state)``: y is
    (B, T, 2H), or (B, 2H) of the two final states if the layer has
    ``return_sequences=False``; the state is the pair of both layers' states.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        Becomes the forward layer. The backward one is a copy with ``reverse=True`` and
        initial values drawn after the forward ones from the same seed.

    Attributes
    ----------
    forward.W_xh, backward.W_xh, … : arrays
        Parameters of the two layers, of the shapes that they have there.

    References
    ----------
    Schuster and Paliwal, 1997.
    """

    has_state = True

    def __init__(self, layer):
        super().__init__()
        if not isinstance(layer, RecurrentSpec) or not isinstance(layer, self.engine):
            raise TypeError(
                "Bidirectional: expected an RNN, LSTM or GRU layer of "
                f"{self.engine.__module__}, got {type_name(layer)}"
            )
        if layer.reverse:
            raise ValueError(f"Bidirectional: expected {layer} with reverse=False")
        other = copy.deepcopy(layer)
        other.reverse = True
        rng = np.random.default_rng(layer.seed)
        layer._initial(rng)  # skip the numbers that the forward layer got
        other.reset(rng)
        self._adopt({"forward": layer, "backward": other})
        self.dtype = layer.dtype
        self.hidden_size = layer.hidden_size
        self.return_sequences = layer.return_sequences

    def __repr__(self):
        return f"Bidirectional({self.directions[0]})"

    def reset(self, rng):
        for layer in self.directions:
            layer.reset(rng)

    def _states(self, state, name="state"):
        """Split a state for the two directions, or raise."""
        if state is None:
            return None, None
        _check_pair(self, name, state, "(forward, backward)")
        return state

    def output_shape(self, shape):
        shape = self.directions[0].output_shape(shape)
        return (*shape[:-1], 2 * shape[-1])


class SequentialSpec(Spec):
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
        return list(self._children())

    def __repr__(self):
        return f"Sequential({', '.join(map(repr, self.layers))})"

    def reset(self, rng):
        for layer in self.layers:
            layer.reset(rng)

    def summary(self):
        """Text table of layers, output shapes and parameter counts, as Keras prints.

        Returns
        -------
        str
        """
        return summary(self)

    def _run(self, x, lengths, state, return_state):
        layers = self.layers
        if state is None:
            state = [None] * len(layers)
        check_type(self, "state", state, tuple | list, "a list, one entry per layer")
        if len(state) != len(layers):
            raise ValueError(
                f"{self}: expected a state with {len(layers)} entries, "
                f"one per layer, got {len(state)}"
            )
        features = len(getattr(x, "shape", ())) == 3
        if lengths is not None and features and not layers[0].has_state:
            # A recurrent layer skips the padding, but a Dense one in front does not,
            # and a NaN there times a gradient of 0 is a NaN.
            x = self._without_padding(x, lengths)
        after = [None] * len(layers)
        for k, layer in enumerate(layers):
            if layer.has_state:
                x, after[k] = layer(x, state=state[k], lengths=lengths)
            elif state[k] is None:
                x = layer(x)
            else:
                raise ValueError(
                    f"{self}: expected entry {k} of the state to be None, as {layer} "
                    f"has no state, got {type_name(state[k])}"
                )
        return (x, after) if return_state else x

    def check_forwards(self, what):
        """Raise ValueError if a layer reads backwards, which ``what`` cannot serve."""
        for layer in self.layers:
            if isinstance(layer, BidirectionalSpec) or getattr(layer, "reverse", False):
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
