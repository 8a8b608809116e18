"""The NumPy engine: every forward and backward pass written out, no autograd.

`rnnlib.torch` exports the same names with the same signatures.
"""

from rnnlib.numpy.activations import leaky_relu, relu, sigmoid, softmax, tanh
from rnnlib.numpy.ctc import ctc_loss
from rnnlib.numpy.layers import (
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    LayerNorm,
    Sequential,
)
from rnnlib.numpy.losses import cross_entropy, mse
from rnnlib.numpy.optim import SGD, Adam, clip_grad_norm
from rnnlib.numpy.recurrent import GRU, LSTM, RNN
from rnnlib.numpy.train import evaluate, fit

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adam",
    "Bidirectional",
    "Dense",
    "Dropout",
    "Embedding",
    "LayerNorm",
    "Sequential",
    "clip_grad_norm",
    "cross_entropy",
    "ctc_loss",
    "evaluate",
    "fit",
    "leaky_relu",
    "mse",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
]
