"""The NumPy engine: every forward and backward pass written out, no autograd.

`rnnlib.torch` exports the same names with the same signatures.
"""

from rnnlib.numpy.activations import leaky_relu, relu, sigmoid, softmax, tanh
from rnnlib.numpy.attention import Attention
from rnnlib.numpy.composite import Bidirectional, Residual, Sequential
from rnnlib.numpy.ctc import ctc_loss
from rnnlib.numpy.encoder_decoder import EncoderDecoder
from rnnlib.numpy.layers import Dense, Dropout, Embedding, LayerNorm
from rnnlib.numpy.losses import cross_entropy, mse
from rnnlib.numpy.optim import SGD, Adam, clip_grad_norm
from rnnlib.numpy.recurrent import GRU, LSTM, RNN, MinGRU, MinLSTM, StateSpace
from rnnlib.numpy.train import evaluate, fit

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adam",
    "Attention",
    "Bidirectional",
    "Dense",
    "Dropout",
    "Embedding",
    "EncoderDecoder",
    "LayerNorm",
    "MinGRU",
    "MinLSTM",
    "Residual",
    "Sequential",
    "StateSpace",
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
