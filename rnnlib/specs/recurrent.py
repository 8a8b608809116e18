"""The layers with a state: RNN, LSTM, GRU, and two of them as Bidirectional."""

import copy

import numpy as np

from rnnlib import weights
from rnnlib.checks import check_choice, check_size, type_name
from rnnlib.specs.base import CompositeSpec, Spec, check_pair
from rnnlib.specs.layers import ACTIVATIONS


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

    @property
    def state_width(self):
        """Numbers in each part of one row's state."""
        return self.hidden_size

    @property
    def reads_backwards(self):
        """Whether it reads from the last step to the first."""
        return self.reverse

    def input_shape(self):
        return (None, None, self.input_size)

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
            check_pair(self, name, state, "(h, c)")
        for part, array in zip(self.states, state, strict=True):
            self._check(f"{name} {part}", array, (B, self.state_width))
        return tuple(state)


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
        cuDNN), "numpy" (the loops of `rnnlib.numpy`, on a CPU), "fused" (our own kernel
        on a GPU) or "auto" (the fastest one measured); ``last_impl`` names what ran.
        "numpy" and "fused" know first derivatives only.
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


class BidirectionalSpec(CompositeSpec):
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

    @property
    def directions(self):
        """The forward and the backward layer."""
        return tuple(self._parts.values())

    def _states(self, state, name="state"):
        """Split a state for the two directions, or raise."""
        if state is None:
            return None, None
        check_pair(self, name, state, "(forward, backward)")
        return state

    def input_shape(self):
        return self.directions[0].input_shape()

    def output_shape(self, shape):
        shape = self.directions[0].output_shape(shape)
        return (*shape[:-1], 2 * shape[-1])
