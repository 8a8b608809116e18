"""The torch engine: the same layers as ``nn.Module``s, for autograd and GPUs.

`rnnlib.numpy` exports the same names with the same signatures.
"""

from rnnlib.torch.ctc import ctc_loss
from rnnlib.torch.functional import (
    cross_entropy,
    leaky_relu,
    mse,
    relu,
    sigmoid,
    softmax,
    tanh,
)
from rnnlib.torch.layers import (
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    LayerNorm,
    Sequential,
)
from rnnlib.torch.recurrent import GRU, LSTM, RNN
from rnnlib.torch.train import SGD, Adam, clip_grad_norm, evaluate, fit

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
