"""The encoder-decoder: our layers, torch's kernels, and autograd for the rest.

The whole target is one recurrent pass, as no step reads what attention found before.
"""

from types import SimpleNamespace

import torch

from rnnlib import specs
from rnnlib.torch.attention import Attention
from rnnlib.torch.composite import Bidirectional, Composite, Sequential
from rnnlib.torch.layers import Dense, Dropout, Embedding
from rnnlib.torch.recurrent import GRU, LSTM, RNN


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

    def forward(self, x, lengths=None):
        return self._run(x, lengths)

    def _row_lengths(self, source, lengths):
        if lengths is None:
            return source.new_full(source.shape[:1], source.shape[1])
        return torch.as_tensor(lengths, device=source.device)

    def _constant(self, weights):
        return weights.detach()

    def _concatenate(self, arrays):
        return torch.cat(tuple(arrays), dim=-1)
