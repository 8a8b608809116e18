"""RNN, LSTM and GRU as layers: what stands around their inner functions.

The inner functions (`rnnlib.numpy.rnn`, ``lstm``, ``gru``) read time-major arrays
forwards. Checks, lengths, directions, the returned state and reused memory are dealt
with here, once for all three.
"""

import numpy as np

from rnnlib import specs
from rnnlib.checks import check_lengths
from rnnlib.numpy.gru import gru_backward, gru_forward
from rnnlib.numpy.layers import Leaf
from rnnlib.numpy.lstm import lstm_backward, lstm_forward
from rnnlib.numpy.rnn import rnn_backward, rnn_forward
from rnnlib.numpy.workspace import Workspace


class _TimeMajor:
    """The way from (B, T, ·) to the (T, B, ·) of the inner functions, and back.

    Rows are sorted by length and, for a reversed pass, each row's valid steps are
    turned round, so that the inner functions only ever read forwards.
    """

    def __init__(self, B, T, lengths, reverse):
        self.reverse, self.ragged = reverse, lengths is not None and (lengths < T).any()
        self.active = None
        if self.ragged:
            self.order = np.argsort(-lengths, kind="stable")
            self.lengths = lengths[self.order]
            t = np.arange(T)[:, None]
            self.valid = t < self.lengths  # (T, B)
            self.active = self.valid.sum(axis=1).tolist()
            # Where step t of sorted row b lies in the batch-major array.
            if reverse:
                t = np.where(self.valid, self.lengths - 1 - t, t)
            self.place = np.broadcast_to(self.order, (T, B)), np.broadcast_to(t, (T, B))

    def __call__(self, x, out):
        """(B, T, ·) -> (T, B, ·); padding becomes 0, so a NaN there cannot spread."""
        if self.ragged:
            out[...] = x[self.place]
            out[~self.valid] = 0
        else:
            x = x.transpose(1, 0, 2)
            out[...] = x[::-1] if self.reverse else x
        return out

    def undo(self, x):
        """(T, B, ·) -> (B, T, ·) in new memory, with zeros past each length."""
        if self.ragged:
            y = np.zeros((x.shape[1], x.shape[0], x.shape[2]), x.dtype)
            y[self.place] = x  # rows that are over are 0 in x already
            return y
        x = x[::-1] if self.reverse else x
        return x.transpose(1, 0, 2).copy()

    def rows(self, h):
        """(B, H) in the order of the inner functions."""
        return h[self.order] if self.ragged else h

    def undo_rows(self, h):
        """(B, H) back in the caller's order."""
        if not self.ragged:
            return h
        y = np.empty_like(h)
        y[self.order] = h
        return y

    def last(self, hs):
        """Each row's state after its last valid step, in the caller's order."""
        if self.ragged:
            return self.undo_rows(hs[self.lengths, np.arange(hs.shape[1])])
        return hs[-1].copy()


class Recurrent(specs.RecurrentSpec, Leaf):
    """What RNN, LSTM and GRU do around their inner functions."""

    def __init__(self):
        super().__init__()
        self._workspace = Workspace()

    def __call__(self, x, state=None, lengths=None):
        self._check("x", x, ("B", "T", self.input_size))
        B, T, _ = x.shape
        if lengths is not None:
            lengths = check_lengths(self, lengths, B, T)
        if state is None:
            zeros = np.zeros((B, self.hidden_size), self.dtype)
            state = (zeros,) * len(self.states)
        else:
            state = self.check_state(state, B)
        tm = _TimeMajor(B, T, lengths, self.reverse)
        x = tm(x, out=self._workspace("x", (T, B, self.input_size), x.dtype))
        *sequences, cache = self._forward(
            x,
            *map(tm.rows, state),
            **self.params,
            active=tm.active,
            empty=self._workspace,
        )
        after = tuple(tm.last(s) for s in sequences)
        y = tm.undo(sequences[0][1:]) if self.return_sequences else after[0].copy()
        self._cache = tm, cache, (T, B), y.shape
        self.last_impl = "numpy"
        return y, after if len(after) > 1 else after[0]

    def backward(self, dy, dstate=None):
        """Backpropagation through time.

        Parameters
        ----------
        dy : ndarray of the shape of y
        dstate : like the state, optional
            Gradient that reaches the returned state.

        Returns
        -------
        dx : ndarray of shape (B, T, I)
            0 past each length. Also sets ``grads`` and ``dstate``, the gradient that
            reaches the initial state.
        """
        tm, cache, (T, B), shape = self._take_cache()
        self._check("dy", dy, shape)
        H = self.hidden_size
        if dstate is None:
            zeros = np.zeros((B, H), self.dtype)
            dstate = (zeros,) * len(self.states)
        else:
            dstate = self.check_state(dstate, B, name="dstate")
        if self.return_sequences:
            dhs = tm(dy, out=self._workspace("dhs", (T, B, H), dy.dtype))
        else:
            dhs = np.zeros((T, B, H), self.dtype)
            dstate = (dstate[0] + dy, *dstate[1:])
        dx, *before, grads = self._backward(dhs, *map(tm.rows, dstate), cache)
        self.grads = {name: grads[name] for name in self.params}
        before = tuple(map(tm.undo_rows, before))
        self.dstate = before if len(before) > 1 else before[0]
        return tm.undo(dx)


class RNN(specs.RNNSpec, Recurrent):
    __doc__ = specs.RNNSpec.__doc__
    _backward = staticmethod(rnn_backward)

    def _forward(self, *args, **kwargs):
        return rnn_forward(*args, activation=self.activation, **kwargs)


class LSTM(specs.LSTMSpec, Recurrent):
    __doc__ = specs.LSTMSpec.__doc__
    _forward, _backward = staticmethod(lstm_forward), staticmethod(lstm_backward)


class GRU(specs.GRUSpec, Recurrent):
    __doc__ = specs.GRUSpec.__doc__
    _forward, _backward = staticmethod(gru_forward), staticmethod(gru_backward)
