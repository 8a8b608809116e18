"""The encoder-decoder: its backward pass is the chain of its layers', from the end.

What is its own is where gradients meet: a decoder output gets one from the scores and
one as a query; the encoder gets one for each output, as a key, and one for its state.
"""

from types import SimpleNamespace

import numpy as np

from rnnlib import specs
from rnnlib.checks import check_lengths
from rnnlib.numpy.attention import Attention
from rnnlib.numpy.composite import Bidirectional, Composite, Sequential
from rnnlib.numpy.layers import Dense, Dropout, Embedding
from rnnlib.numpy.recurrent import GRU, LSTM, RNN


class EncoderDecoder(specs.EncoderDecoderSpec, Composite):
    __doc__ = specs.EncoderDecoderSpec.__doc__
    rl = SimpleNamespace(
        RNN=RNN,
        LSTM=LSTM,
        GRU=GRU,
        Attention=Attention,
        Bidirectional=Bidirectional,
        Dense=Dense,
        Dropout=Dropout,
        Embedding=Embedding,
        Sequential=Sequential,
    )

    def __call__(self, x, lengths=None):
        scores = self._run(x, lengths)
        self._cache = (*x[0].shape, self.hidden_size)  # of the encoder's outputs
        return scores

    def backward(self, dscores):
        """Backpropagate ``dscores``, of the shape of the scores, and fill all grads.

        Ids have no gradient, so it returns None.
        """
        shape = self._take_cache()
        dy = self._parts["output"].backward(dscores)
        dy = self._parts["dropout"].backward(dy)
        if self.attention is None:
            dmemory = np.zeros(shape, self.dtype)  # no output of the encoder is used
        else:
            dboth = self._parts["combine"].backward(dy)
            dcontext, dy = np.split(dboth, 2, axis=-1)
            dquery, dmemory = self.attention.backward(dcontext)
            dy = dy + dquery
        self.decoder.backward(dy)
        # The decoder began where the encoder ended: one state, one gradient.
        dstate = [self._split(d) for d in self.decoder.dstate]
        self.encoder.backward(dmemory, dstate)

    def _split(self, dstate):
        """The gradient of a joined state as those of its directions."""
        if dstate is None or not self.bidirectional:
            return dstate
        if isinstance(dstate, tuple):  # h and c
            halves = (np.split(d, 2, axis=-1) for d in dstate)
            return tuple(zip(*halves, strict=True))
        return tuple(np.split(dstate, 2, axis=-1))

    def _row_lengths(self, source, lengths):
        if lengths is None:
            return np.full(*source.shape)
        return check_lengths(self, lengths, *source.shape)

    def _constant(self, weights):
        return weights

    def _concatenate(self, arrays):
        return np.concatenate(tuple(arrays), axis=-1)
