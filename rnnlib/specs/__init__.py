"""What a layer is, apart from how it is computed.

Each class here holds one layer's constructor, its parameter shapes, initial values and
output shape. `rnnlib.numpy` and `rnnlib.torch` derive their layers from these classes
and add only the arithmetic, so that signatures, names, initial values and error
messages are the same in both. An engine supplies ``_store(values)``, which turns a dict
of float64 arrays into its kind of parameters, and ``_adopt(layers)``, which takes named
layers in as parts of another and keeps them in the dict ``_parts``.
"""

from rnnlib.specs.attention import AttentionSpec
from rnnlib.specs.encoder_decoder import EncoderDecoderSpec
from rnnlib.specs.layers import DenseSpec, DropoutSpec, EmbeddingSpec, LayerNormSpec
from rnnlib.specs.models import ResidualSpec, SequentialSpec
from rnnlib.specs.recurrent import (
    BidirectionalSpec,
    GRUSpec,
    LSTMSpec,
    RecurrentSpec,
    RNNSpec,
)
from rnnlib.specs.scan import MinGRUSpec, MinLSTMSpec, StateSpaceSpec

__all__ = [
    "AttentionSpec",
    "BidirectionalSpec",
    "DenseSpec",
    "DropoutSpec",
    "EmbeddingSpec",
    "EncoderDecoderSpec",
    "GRUSpec",
    "LSTMSpec",
    "LayerNormSpec",
    "MinGRUSpec",
    "MinLSTMSpec",
    "RNNSpec",
    "RecurrentSpec",
    "ResidualSpec",
    "SequentialSpec",
    "StateSpaceSpec",
]
