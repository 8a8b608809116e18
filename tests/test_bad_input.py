"""Bad input gets a clear error: which layer, what it expected, what it found.

A case is a line of code and, below it, the error it must raise, word for word. Both
engines must say the same, except that ``{own}`` and ``{other}`` stand for their kinds
of array.
"""

import re

import numpy as np
import pytest

from rnnlib import checks
from rnnlib.metrics import accuracy
from tests.engines import Engine

OWN = {"numpy": "a NumPy array", "torch": "a torch.Tensor"}
ARRAY = {"numpy": "numpy.ndarray", "torch": "torch.Tensor"}
LSTM = {name: f"rnnlib.{name}.recurrent.LSTM" for name in ("numpy", "torch")}
SECOND = {"numpy": "torch", "torch": "numpy"}


@pytest.fixture(params=["numpy", "torch"])
def engine(request):
    return Engine(request.param)


def names(engine):
    """What a case may use: the engine's names, and makers of arrays and layers."""
    rl = engine.rl

    def zeros(*shape, dtype="float32"):
        return engine.put(np.zeros(shape, dtype))

    def ids(values, dtype="int64"):
        return engine.put(np.array(values, dtype))

    def others(*shape):  # the other engine's array
        return Engine(SECOND[engine.name]).put(np.zeros(shape, "float32"))

    model = rl.Sequential(rl.GRU(3, 4, return_sequences=False), rl.Dense(4, 2), seed=0)

    def fit(batches, **options):
        chosen = options.pop("model", model)
        options.setdefault("optimizer", rl.SGD(chosen, lr=options.pop("lr", 0.1)))
        options = {"loss": rl.cross_entropy, "epochs": 2, "progress": False} | options
        return rl.fit(chosen, batches, **options)

    def pair(*shape, dtype="float32"):
        return zeros(2, 4), zeros(*shape, dtype=dtype)

    x, y = np.ones((6, 5, 3), "float32"), np.arange(6) % 2
    public = {name: getattr(rl, name) for name in rl.__all__}
    return public | {
        "np": np, "zeros": zeros, "ids": ids, "others": others, "pair": pair,
        "lstm": rl.LSTM(3, 4, seed=0), "gru": rl.GRU(3, 4, seed=0),
        "both": rl.Bidirectional(rl.GRU(3, 4)), "dense": rl.Dense(3, 4),
        "stack": rl.Sequential(rl.Dropout(0.5), rl.GRU(3, 4)),
        "backwards": rl.Sequential(rl.GRU(3, 4, reverse=True)),
        "look": rl.Attention(3, 4, "additive"), "deep": rl.Residual(rl.GRU(3, 3)),
        "translator": rl.EncoderDecoder(5, 6, 3, 4),
        "foreign": Engine(SECOND[engine.name]).rl.LSTM(3, 4),
        "model": model, "fit": fit, "x": x, "y": y, "batches": [(x, y)],
        "nan": np.nan, "inf": np.inf, "none": np.zeros((2, 5), bool),
    }  # fmt: skip


def cases(text):
    """Parametrise by the (code, error) pairs of a text."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    pairs = list(zip(lines[::2], lines[1::2], strict=True))
    assert all(re.match("(Type|Value)Error: ", error) for _, error in pairs)
    return pytest.mark.parametrize("code, error", pairs, ids=lines[::2])


def refuse(engine, code, error):
    """Run the code; it must raise the error."""
    for word, by_engine in (
        ("{own}", OWN[engine.name]),
        ("{itself}", ARRAY[engine.name]),
        ("{other}", ARRAY[SECOND[engine.name]]),
        ("{alien}", LSTM[SECOND[engine.name]]),
        ("{layers}", f"rnnlib.{engine.name}.layers"),
        ("{composite}", f"rnnlib.{engine.name}.composite"),
    ):
        error = error.replace(word, by_engine)
    with pytest.raises((TypeError, ValueError)) as caught:
        eval(code, names(engine))
    assert f"{caught.type.__name__}: {caught.value}" == error


@cases("""
lstm(zeros(2, 5, 2))
    ValueError: LSTM(3, 4): expected x of shape (B, T, 3), got (2, 5, 2)
RNN(3, 4)(zeros(2, 3))
    ValueError: RNN(3, 4): expected x of shape (B, T, 3), got (2, 3)
gru(zeros(2, 2, 2, 3))
    ValueError: GRU(3, 4): expected x of shape (B, T, 3), got (2, 2, 2, 3)
both(zeros(2, 5, 2))
    ValueError: GRU(3, 4): expected x of shape (B, T, 3), got (2, 5, 2)
Sequential(lstm)(zeros(2, 5, 2))
    ValueError: LSTM(3, 4): expected x of shape (B, T, 3), got (2, 5, 2)
Sequential(lstm).step(zeros(2, 2))
    ValueError: LSTM(3, 4): expected x of shape (B, T, 3), got (2, 1, 2)
dense(zeros(2, 2))
    ValueError: Dense(3, 4): expected x of shape (B, 3), got (2, 2)
dense(zeros(2, 2, 2, 3))
    ValueError: Dense(3, 4): expected x of shape (B, T, 3), got (2, 2, 2, 3)
dense(zeros())
    ValueError: Dense(3, 4): expected x of shape (B, 3), got ()
LayerNorm(3)(zeros(2, 5, 4))
    ValueError: LayerNorm(3): expected x of shape (B, T, 3), got (2, 5, 4)

lstm(zeros(0, 5, 3))
    ValueError: LSTM(3, 4): expected x of shape (B, T, 3), got (0, 5, 3) (empty)
both(zeros(2, 0, 3))
    ValueError: GRU(3, 4): expected x of shape (B, T, 3), got (2, 0, 3) (empty)
dense(zeros(0, 3))
    ValueError: Dense(3, 4): expected x of shape (B, 3), got (0, 3) (empty)
LayerNorm(3)(zeros(2, 0, 3))
    ValueError: LayerNorm(3): expected x of shape (B, T, 3), got (2, 0, 3) (empty)
Embedding(5, 2)(zeros(2, 0, dtype="int64"))
    ValueError: Embedding(5, 2): expected ids of shape (B, T), got (2, 0) (empty)

lstm(zeros(2, 5, 3, dtype="float64"))
    TypeError: LSTM(3, 4): expected x of dtype float32, got float64
GRU(3, 4, dtype="float64")(zeros(2, 5, 3))
    TypeError: GRU(3, 4): expected x of dtype float64, got float32
dense(zeros(2, 3, dtype="int64"))
    TypeError: Dense(3, 4): expected x of dtype float32, got int64
lstm([[[0.0, 0.0, 0.0]]])
    TypeError: LSTM(3, 4): expected x to be {own}, got list
lstm(others(2, 5, 3))
    TypeError: LSTM(3, 4): expected x to be {own}, got {other}
dense([[0.0, 0.0, 0.0]])
    TypeError: Dense(3, 4): expected x to be {own}, got list
LayerNorm(3)(others(2, 3))
    TypeError: LayerNorm(3): expected x to be {own}, got {other}
Dropout(0.5)([0.0])
    TypeError: Dropout(0.5): expected x to be {own}, got list
Dropout(0.5)(zeros(2, dtype="int64"))
    TypeError: Dropout(0.5): expected x to be floats, got dtype int64

Embedding(5, 2)(ids([[0, 5]]))
    ValueError: Embedding(5, 2): expected ids in [0, 5), got 5
Embedding(5, 2)(ids([[-1, 4]]))
    ValueError: Embedding(5, 2): expected ids in [0, 5), got -1
Embedding(5, 2)(ids([[0, 1]], "float32"))
    TypeError: Embedding(5, 2): expected ids to be integers, got dtype float32
Embedding(5, 2)(ids([[0, 1]], "bool"))
    TypeError: Embedding(5, 2): expected ids to be integers, got dtype bool
Embedding(5, 2)([[0, 1]])
    TypeError: Embedding(5, 2): expected ids to be {own}, got list
Embedding(5, 2)(others(1, 2))
    TypeError: Embedding(5, 2): expected ids to be {own}, got {other}
Embedding(5, 2)(ids([[[0, 1]]]))
    ValueError: Embedding(5, 2): expected ids of shape (B, T), got (1, 1, 2)
Embedding(5, 2)(ids(0))
    ValueError: Embedding(5, 2): expected ids of shape (B,), got ()
""")
def test_a_bad_input_is_named(engine, code, error):
    refuse(engine, code, error)


@cases("""
lstm(zeros(2, 5, 3), lengths=ids([0, 5]))
    ValueError: LSTM(3, 4): expected lengths in [1, 6), got 0
lstm(zeros(2, 5, 3), lengths=ids([-1, 5]))
    ValueError: LSTM(3, 4): expected lengths in [1, 6), got -1
both(zeros(2, 5, 3), lengths=ids([1, 6]))
    ValueError: GRU(3, 4): expected lengths in [1, 6), got 6
lstm(zeros(2, 5, 3), lengths=ids([1, 2, 3]))
    ValueError: LSTM(3, 4): expected lengths of shape (2,), got (3,)
lstm(zeros(2, 5, 3), lengths=ids([[1], [2]]))
    ValueError: LSTM(3, 4): expected lengths of shape (2,), got (2, 1)
lstm(zeros(2, 5, 3), lengths=3)
    ValueError: LSTM(3, 4): expected lengths of shape (2,), got ()
gru(zeros(2, 5, 3), lengths=ids([1, 2], "float32"))
    TypeError: GRU(3, 4): expected lengths to be integers, got dtype float32
lstm(zeros(2, 5, 3), lengths=[1.0, 2.0])
    TypeError: LSTM(3, 4): expected lengths to be integers, got dtype float64
lstm(zeros(2, 5, 3), lengths=ids([1, 1], "bool"))
    TypeError: LSTM(3, 4): expected lengths to be integers, got dtype bool
Sequential(dense)(zeros(2, 5, 3), lengths=[1, 6])
    ValueError: Sequential(Dense(3, 4)): expected lengths in [1, 6), got 6
""")
def test_bad_lengths_are_named(engine, code, error):
    refuse(engine, code, error)


@cases("""
gru(zeros(2, 5, 3), zeros(3, 4))
    ValueError: GRU(3, 4): expected state h of shape (2, 4), got (3, 4)
gru(zeros(2, 5, 3), zeros(1, 2, 4))
    ValueError: GRU(3, 4): expected state h of shape (2, 4), got (1, 2, 4)
lstm(zeros(2, 5, 3), pair(2, 3))
    ValueError: LSTM(3, 4): expected state c of shape (2, 4), got (2, 3)
lstm(zeros(2, 5, 3), pair(2, 4, dtype="float64"))
    TypeError: LSTM(3, 4): expected state c of dtype float32, got float64
gru(zeros(2, 5, 3), [[0.0] * 4] * 2)
    TypeError: GRU(3, 4): expected state h to be {own}, got list
gru(zeros(2, 5, 3), others(2, 4))
    TypeError: GRU(3, 4): expected state h to be {own}, got {other}
gru(zeros(2, 5, 3), pair(2, 4))
    TypeError: GRU(3, 4): expected state h to be {own}, got tuple
lstm(zeros(2, 5, 3), zeros(2, 4))
    TypeError: LSTM(3, 4): expected state to be a pair (h, c), got {itself}
lstm(zeros(2, 5, 3), (*pair(2, 4), 0))
    ValueError: LSTM(3, 4): expected state to be a pair (h, c), got 3 entries
Bidirectional(RNN(1, 1))(zeros(2, 5, 1), zeros(2, 1)) # (forward, backward)
    TypeError: Bidirectional(RNN(1, 1)): expected state to be a pair (forward, backward), got {itself}
Bidirectional(RNN(1, 1))(zeros(2, 5, 1), [None] * 3)
    ValueError: Bidirectional(RNN(1, 1)): expected state to be a pair (forward, backward), got 3 entries
stack(zeros(2, 5, 3), state=zeros(2, 4))
    TypeError: Sequential(Dropout(0.5), GRU(3, 4)): expected state to be a list, one entry per layer, got {itself}
stack(zeros(2, 5, 3), state=[zeros(2, 4)])
    ValueError: Sequential(Dropout(0.5), GRU(3, 4)): expected a state with 2 entries, one per layer, got 1
stack(zeros(2, 5, 3), state=[zeros(2, 4), None])
    ValueError: Sequential(Dropout(0.5), GRU(3, 4)): expected entry 0 of the state to be None, as Dropout(0.5) has no state, got {itself}
""")  # noqa: E501
def test_a_bad_state_is_named(engine, code, error):
    refuse(engine, code, error)


@cases("""
RNN(3, 4, "swish")
    ValueError: RNN: expected activation to be one of 'tanh', 'relu', 'leaky_relu', 'sigmoid', got 'swish'
RNN(3, 4, None)
    ValueError: RNN: expected activation to be one of 'tanh', 'relu', 'leaky_relu', 'sigmoid', got None
Dense(3, 4, "swish")
    ValueError: Dense(3, 4): expected activation to be one of None, 'tanh', 'relu', 'leaky_relu', 'sigmoid', 'softmax', got 'swish'
GRU(3, 4, dtype="float16")
    ValueError: GRU(3, 4): expected dtype to be one of 'float32', 'float64', got 'float16'
Dropout(1)
    ValueError: Dropout: expected p in [0, 1), got 1
Dropout(-0.1)
    ValueError: Dropout: expected p in [0, 1), got -0.1
Dropout(nan)
    ValueError: Dropout: expected p in [0, 1), got nan
Dropout("0.5")
    TypeError: Dropout: expected p to be a number, got '0.5'
Dropout(False)
    TypeError: Dropout: expected p to be a number, got False
LayerNorm(3, eps=0)
    ValueError: LayerNorm(3): expected eps > 0, got 0

Bidirectional(dense)
    TypeError: Bidirectional: expected an RNN, LSTM or GRU layer of {layers}, got {layers}.Dense
Bidirectional(foreign)
    TypeError: Bidirectional: expected an RNN, LSTM or GRU layer of {layers}, got {alien}
Bidirectional(LSTM(3, 4, reverse=True))
    ValueError: Bidirectional: expected LSTM(3, 4) with reverse=False
Sequential()
    ValueError: Sequential: expected at least one layer
Sequential([lstm])
    TypeError: Sequential: expected layers of {layers} (and no Sequential among them), got list
Sequential(Sequential(lstm))
    TypeError: Sequential: expected layers of {layers} (and no Sequential among them), got {composite}.Sequential
Sequential(foreign)
    TypeError: Sequential: expected layers of {layers} (and no Sequential among them), got {alien}
Sequential(dense, dense)
    ValueError: Sequential: expected each layer object only once
backwards.step(zeros(2, 3))
    ValueError: Sequential(GRU(3, 4)): step reads forwards; GRU(3, 4) needs the whole sequence

gru.load_state_dict({"W_xh": np.ones((3, 12)), "W_hh": np.ones((4, 8)), "bias": 1.0})
    ValueError: GRU(3, 4): state dict does not fit: missing b_h (12,); missing b_hn (4,); unknown bias; W_hh: expected (4, 12), got (4, 8)
gru.load_state_dict([1, 2])
    TypeError: GRU(3, 4): expected state dict to be a dict of arrays by name, got list
""")  # noqa: E501
def test_a_bad_setting_is_named(engine, code, error):
    refuse(engine, code, error)


@cases("""
look(zeros(2, 5, 2), zeros(2, 7, 4))
    ValueError: Attention(3, 4): expected query of shape (B, U, 3), got (2, 5, 2)
look(zeros(2, 3), zeros(2, 7, 4))
    ValueError: Attention(3, 4): expected query of shape (B, U, 3), got (2, 3)
look(zeros(2, 5, 3), zeros(3, 7, 4))
    ValueError: Attention(3, 4): expected keys of shape (2, T, 4), got (3, 7, 4)
look(zeros(2, 5, 3), zeros(2, 0, 4))
    ValueError: Attention(3, 4): expected keys of shape (2, T, 4), got (2, 0, 4) (empty)
look(zeros(2, 5, 3), zeros(2, 7, 4, dtype="float64"))
    TypeError: Attention(3, 4): expected keys of dtype float32, got float64
look(zeros(2, 5, 3), others(2, 7, 4))
    TypeError: Attention(3, 4): expected keys to be {own}, got {other}
look(zeros(2, 5, 3), zeros(2, 7, 4), lengths=[8, 1])
    ValueError: Attention(3, 4): expected lengths in [1, 8), got 8
look(zeros(2, 5, 3), zeros(2, 7, 4), lengths=[0, 1])
    ValueError: Attention(3, 4): expected lengths in [1, 8), got 0
Attention(3, 4)
    ValueError: Attention(3, 4): expected equal sizes with kind='dot'; make them so with a Dense layer, or use kind='additive'
Attention(3, 3, hidden_size=4)
    ValueError: Attention(3, 3): expected hidden_size with kind='additive' only
Attention(3, 3, "general")
    ValueError: Attention(3, 3): expected kind to be one of 'dot', 'scaled_dot', 'additive', got 'general'
Attention(3, 3, "additive", hidden_size=0)
    ValueError: Attention(3, 3): expected hidden_size >= 1, got 0
""")  # noqa: E501
def test_what_attention_cannot_use_is_named(engine, code, error):
    refuse(engine, code, error)


@cases("""
Residual(gru)
    ValueError: Residual: expected a layer with outputs of the shape of its inputs, got GRU(3, 4): (None, None, 3) -> (None, None, 4)
Residual(LSTM(3, 3, return_sequences=False))
    ValueError: Residual: expected a layer with outputs of the shape of its inputs, got LSTM(3, 3): (None, None, 3) -> (None, 3)
Residual(Bidirectional(GRU(3, 3)))
    ValueError: Residual: expected a layer with outputs of the shape of its inputs, got Bidirectional(GRU(3, 3)): (None, None, 3) -> (None, None, 6)
Residual(Sequential(Dropout(0.5), LayerNorm(3), gru))
    ValueError: Residual: expected a layer with outputs of the shape of its inputs, got Sequential(Dropout(0.5), LayerNorm(3), GRU(3, 4)): (None, None, 3) -> (None, None, 4)
Residual(Embedding(5, 2))
    ValueError: Residual: expected a layer with outputs of the shape of its inputs, got Embedding(5, 2): (None, None) -> (None, None, 2)
Residual(foreign)
    TypeError: Residual: expected layer to be a layer of {layers}, got {alien}
Residual(Dense(3, 3))(zeros(2, 3), lengths=[1, 1])
    ValueError: Residual(Dense(3, 3)): expected neither state nor lengths, as Dense(3, 3) has no state
deep(zeros(2, 5, 2))
    ValueError: GRU(3, 3): expected x of shape (B, T, 3), got (2, 5, 2)
deep(zeros(2, 5, 3), state=zeros(3, 3))
    ValueError: GRU(3, 3): expected state h of shape (2, 3), got (3, 3)
Sequential(Residual(Bidirectional(GRU(4, 2)))).step(zeros(2, 4))
    ValueError: Sequential(Residual(Bidirectional(GRU(4, 2)))): step reads forwards; Residual(Bidirectional(GRU(4, 2))) needs the whole sequence
""")  # noqa: E501
def test_what_residual_cannot_use_is_named(engine, code, error):
    refuse(engine, code, error)


@cases("""
translator(ids([[1, 2]]))
    TypeError: EncoderDecoder(5, 6, 3, 4): expected x to be a pair (source, target_in), got {itself}
translator((ids([[1, 2]]),))
    ValueError: EncoderDecoder(5, 6, 3, 4): expected x to be a pair (source, target_in), got 1 entries
translator((ids([1, 2]), ids([[1], [2]])))
    ValueError: EncoderDecoder(5, 6, 3, 4): expected source of shape (B, T), got (2,)
translator((ids([[1, 2]]), ids([[1], [2]])))
    ValueError: EncoderDecoder(5, 6, 3, 4): expected target_in of shape (1, U), got (2, 1)
translator((ids([[1, 5]]), ids([[1]])))
    ValueError: Embedding(5, 3): expected ids in [0, 5), got 5
translator((zeros(1, 2), ids([[1]])))
    TypeError: Embedding(5, 3): expected ids to be integers, got dtype float32
translator((ids([[1, 2]]), ids([[1]])), lengths=[1])
    ValueError: EncoderDecoder(5, 6, 3, 4): expected lengths to be a pair (source_lengths, target_lengths), got 1 entries
translator((ids([[1, 2]]), ids([[1]])), lengths=([3], [1]))
    ValueError: GRU(3, 4): expected lengths in [1, 3), got 3
translator((ids([[1, 2]]), ids([[1]])), lengths=([2], [2]))
    ValueError: EncoderDecoder(5, 6, 3, 4): expected lengths in [1, 2), got 2
translator.encode(ids([1, 2]))
    ValueError: EncoderDecoder(5, 6, 3, 4): expected source of shape (N, T), got (2,)
translator.step(ids([[1]]), translator.encode(ids([[1]])))
    ValueError: EncoderDecoder(5, 6, 3, 4): expected ids of shape (N,), got (1, 1)
translator.step(ids([1]), None)
    TypeError: EncoderDecoder(5, 6, 3, 4): expected state to be a pair (decoder states, memory) from encode, got NoneType
translator.step(ids([1, 2]), translator.encode(ids([[1]])))
    ValueError: GRU(3, 4): expected state h of shape (2, 4), got (1, 4)
EncoderDecoder(5, 6, 3, 5, bidirectional=True)
    ValueError: EncoderDecoder(5, 6, 3, 5): expected an even hidden_size with bidirectional=True, got 5
EncoderDecoder(5, 6, 3, 4, cell="gru")
    ValueError: EncoderDecoder(5, 6, 3, 4): expected cell to be one of 'RNN', 'LSTM', 'GRU', got 'gru'
EncoderDecoder(5, 6, 3, 4, attention=True)
    ValueError: EncoderDecoder(5, 6, 3, 4): expected attention to be one of None, 'dot', 'scaled_dot', 'additive', got True
EncoderDecoder(5, 6, 3, 4, layers=0)
    ValueError: EncoderDecoder(5, 6, 3, 4): expected layers >= 1, got 0
EncoderDecoder(5, 6, 3, 4, dropout=1)
    ValueError: EncoderDecoder(5, 6, 3, 4): expected dropout in [0, 1), got 1
fit([((ids([[1, 2]]), ids([[1]])), ids([[1]]))], model=translator, stateful=True)
    ValueError: EncoderDecoder(5, 6, 3, 4): stateful=True reads forwards; the encoder needs the whole source
translator.load_state_dict({})
    ValueError: EncoderDecoder(5, 6, 3, 4): state dict does not fit: missing encoder.0.W (5, 3); missing encoder.2.W_xh (3, 12); missing encoder.2.W_hh (4, 12); missing encoder.2.b_h (12,); missing encoder.2.b_hn (4,); missing decoder.0.W (6, 3); missing decoder.2.W_xh (3, 12); missing decoder.2.W_hh (4, 12); missing decoder.2.b_h (12,); missing decoder.2.b_hn (4,); missing output.W (4, 6); missing output.b (6,)
""")  # noqa: E501
def test_what_the_encoder_decoder_cannot_use_is_named(engine, code, error):
    refuse(engine, code, error)


@cases("""
cross_entropy(zeros(2, 5, 3), ids([[0], [1]]))
    ValueError: cross_entropy: expected y of shape (2, 5), got (2, 1)
cross_entropy(zeros(2, 3), zeros(2, 3, dtype="int64"))
    ValueError: cross_entropy: expected y of shape (2,), got (2, 3)
cross_entropy(zeros(3), ids(0))
    ValueError: cross_entropy: expected logits of shape (B, V), got (3,)
cross_entropy(zeros(0, 3), ids([]))
    ValueError: cross_entropy: expected logits of shape (B, V), got (0, 3) (empty)
cross_entropy(zeros(2, 3), zeros(2))
    TypeError: cross_entropy: expected y to be integers, got dtype float32
cross_entropy(zeros(2, 3), ids([0, 3]))
    ValueError: cross_entropy: expected y in [0, 3), got 3
cross_entropy(zeros(2, 3), ids([-1, 2]))
    ValueError: cross_entropy: expected y in [0, 3), got -1
cross_entropy(zeros(2, 3, dtype="int64"), ids([0, 1]))
    TypeError: cross_entropy: expected logits to be floats, got dtype int64
cross_entropy([[0.0, 1.0]], ids([0]))
    TypeError: cross_entropy: expected logits to be {own}, got list
cross_entropy(zeros(2, 3), others(2))
    TypeError: cross_entropy: expected y to be {own}, got {other}
cross_entropy(zeros(2, 5, 3), ids(none), mask=np.ones(2, bool))
    ValueError: cross_entropy: expected mask of shape (2, 5), got (2,)
cross_entropy(zeros(2, 5, 3), ids(none), mask=none)
    ValueError: cross_entropy: expected a mask with at least one True, got none
cross_entropy(zeros(2, 3), ids([0, 1]), mask=np.full(2, 0.5))
    TypeError: cross_entropy: expected mask of dtype bool, got float64

mse(zeros(2, 1), zeros(2))
    ValueError: mse: expected y of shape (2, 1), got (2,)
mse(zeros(2), zeros(2))
    ValueError: mse: expected prediction of shape (B, O), got (2,)
mse(zeros(2, 0, 1), zeros(2, 0, 1))
    ValueError: mse: expected prediction of shape (B, T, O), got (2, 0, 1) (empty)
mse(zeros(2, 1), zeros(2, 1, dtype="int64"))
    TypeError: mse: expected y to be floats, got dtype int64
mse(zeros(2, 1), [[0.0], [0.0]])
    TypeError: mse: expected y to be {own}, got list
mse(zeros(2, 5, 1), zeros(2, 5, 1), mask=np.ones((2, 5, 1), bool))
    ValueError: mse: expected mask of shape (2, 5), got (2, 5, 1)
mse(zeros(2, 5, 1), zeros(2, 5, 1), mask=none)
    ValueError: mse: expected a mask with at least one True, got none

ctc_loss([[[0.0]]], ids([[1]]))
    TypeError: ctc_loss: expected logits to be {own}, got list
ctc_loss(zeros(1, 2, 3), [[1]])
    TypeError: ctc_loss: expected y to be {own}, got list
ctc_loss(others(1, 2, 3), ids([[1]]))
    TypeError: ctc_loss: expected logits to be {own}, got {other}
ctc_loss(zeros(2, 3), ids([[1]]))
    ValueError: ctc_loss: expected logits of shape (B, T, V), got (2, 3)
ctc_loss(zeros(1, 0, 3), ids([[1]]))
    ValueError: ctc_loss: expected logits of shape (B, T, V), got (1, 0, 3) (empty)
ctc_loss(zeros(1, 2, 3, dtype="int64"), ids([[1]]))
    TypeError: ctc_loss: expected logits to be floats, got dtype int64
ctc_loss(zeros(1, 2, 3), ids([1]))
    ValueError: ctc_loss: expected y of shape (1, S), got (1,)
ctc_loss(zeros(1, 2, 3), ids([[1], [2]]))
    ValueError: ctc_loss: expected y of shape (1, 1), got (2, 1)
ctc_loss(zeros(1, 2, 3), zeros(1, 1))
    TypeError: ctc_loss: expected y to be integers, got dtype float32
ctc_loss(zeros(1, 2, 3), zeros(1, 0))
    TypeError: ctc_loss: expected y to be integers, got dtype float32
ctc_loss(zeros(1, 2, 3), ids([[3]]))
    ValueError: ctc_loss: expected y in [-1, 3), got 3
ctc_loss(zeros(1, 2, 3), ids([[-2]]))
    ValueError: ctc_loss: expected y in [-1, 3), got -2
ctc_loss(zeros(2, 2, 3), ids([[1, 2], [1, 0]]))
    ValueError: ctc_loss: expected y without the blank, 0, got it in row 1
ctc_loss(zeros(2, 2, 3), ids([[0, 0], [1, 2]]), blank=2)
    ValueError: ctc_loss: expected y without the blank, 2, got it in row 1
ctc_loss(zeros(2, 2, 3), ids([[1, 2], [-1, 1]]))
    ValueError: ctc_loss: expected the padding, -1, at the end of each row of y, got a label after it in row 1
ctc_loss(zeros(1, 2, 3), ids([[1]]), blank=3)
    ValueError: ctc_loss: expected blank in [0, 3), got 3
ctc_loss(zeros(1, 2, 3), ids([[1]]), blank=-1)
    ValueError: ctc_loss: expected blank >= 0, got -1
ctc_loss(zeros(1, 2, 3), ids([[1]]), blank=0.0)
    TypeError: ctc_loss: expected blank to be an integer, got 0.0
ctc_loss(zeros(2, 3, 3), ids([[1, 1], [1, 2]]), mask=np.array([[1, 1, 1], [1, 0, 0]], bool))
    ValueError: ctc_loss: expected at least 2 steps in row 1 for 2 labels with 0 adjacent repeats, got 1
ctc_loss(zeros(2, 4, 3), ids([[1, 2, -1], [1, 1, 1]]))
    ValueError: ctc_loss: expected at least 5 steps in row 1 for 3 labels with 2 adjacent repeats, got 4
ctc_loss(zeros(2, 5, 3), ids([[1], [1]]), mask=np.ones((2, 5)))
    TypeError: ctc_loss: expected mask of dtype bool, got float64
ctc_loss(zeros(2, 5, 3), ids([[1], [1]]), mask=np.ones((2, 4), bool))
    ValueError: ctc_loss: expected mask of shape (2, 5), got (2, 4)
ctc_loss(zeros(2, 5, 3), ids([[1], [1]]), mask=none)
    ValueError: ctc_loss: expected a mask whose rows begin with at least one True and have no True after a False, got another row 0
ctc_loss(zeros(2, 2, 3), ids([[1], [1]]), mask=np.array([[True, True], [False, True]]))
    ValueError: ctc_loss: expected a mask whose rows begin with at least one True and have no True after a False, got another row 1
""")  # noqa: E501
def test_a_bad_target_is_named(engine, code, error):
    refuse(engine, code, error)


@cases("""
SGD(dense, lr=0)
    ValueError: SGD: expected lr > 0 and finite, got 0
SGD(dense, lr=-0.1)
    ValueError: SGD: expected lr > 0 and finite, got -0.1
Adam(dense, lr=nan)
    ValueError: Adam: expected lr > 0 and finite, got nan
Adam(dense, lr=inf)
    ValueError: Adam: expected lr > 0 and finite, got inf
SGD(dense, lr="0.1")
    TypeError: SGD: expected lr to be a number, got '0.1'
SGD(dense, lr=0.1, momentum=1)
    ValueError: SGD: expected momentum in [0, 1), got 1
SGD(dense, lr=0.1, momentum=-0.5)
    ValueError: SGD: expected momentum in [0, 1), got -0.5
Adam(dense, betas=(0.9, 1.0))
    ValueError: Adam: expected betas in [0, 1), got 1.0
Adam(dense, betas=0.9)
    TypeError: Adam: expected betas to be a pair, got 0.9
Adam(dense, betas=(0.9, 0.9, 0.9))
    TypeError: Adam: expected betas to be a pair, got (0.9, 0.9, 0.9)
Adam(dense, eps=0.0)
    ValueError: Adam: expected eps > 0 and finite, got 0.0
clip_grad_norm(dense, 0)
    ValueError: clip_grad_norm: expected max_norm > 0, got 0
clip_grad_norm(dense, -1.0)
    ValueError: clip_grad_norm: expected max_norm > 0, got -1.0
clip_grad_norm(dense, nan)
    ValueError: clip_grad_norm: expected max_norm > 0, got nan
""")
def test_a_bad_setting_of_an_optimizer_is_named(engine, code, error):
    refuse(engine, code, error)


@cases("""
fit(iter(batches))
    TypeError: fit: expected batches that can be run through again in each epoch, such as a list or rnnlib.batches.Batches; got a one-way iterator
fit(batches, validate=(b for b in batches))
    TypeError: fit: expected validate that can be run through again in each epoch, such as a list or rnnlib.batches.Batches; got a one-way iterator
fit([])
    ValueError: fit: expected at least one batch, got none
fit([(x,)])
    ValueError: fit: expected batches of (x, y) or (x, y, lengths), got 1 entries
fit([(x, y, y, y)])
    ValueError: fit: expected batches of (x, y) or (x, y, lengths), got 4 entries
fit([x])
    TypeError: fit: expected batches of (x, y) or (x, y, lengths), got numpy.ndarray
fit(batches, epochs=0)
    ValueError: fit: expected epochs >= 1, got 0
fit(batches, epochs=1.5)
    TypeError: fit: expected epochs to be an integer, got 1.5
fit(batches, clip=0)
    ValueError: clip_grad_norm: expected max_norm > 0, got 0
fit(batches, resume=True)
    ValueError: fit: resume=True needs checkpoint=PATH
fit(batches, optimizer=SGD(dense, lr=0.1))
    ValueError: fit: expected an optimizer built from this model
fit(batches, loss=mse)
    ValueError: mse: expected y of shape (6, 2), got (6,)
fit([(x, y, np.full(6, 9))])
    ValueError: GRU(3, 4): expected lengths in [1, 6), got 9
fit(batches, model=backwards, stateful=True)
    ValueError: Sequential(GRU(3, 4)): stateful=True reads forwards; GRU(3, 4) needs the whole sequence
evaluate(backwards, batches, stateful=True)
    ValueError: Sequential(GRU(3, 4)): stateful=True reads forwards; GRU(3, 4) needs the whole sequence
evaluate(model, [])
    ValueError: evaluate: expected at least one batch, got none
""")  # noqa: E501
def test_what_fit_cannot_use_is_named(engine, code, error):
    refuse(engine, code, error)


# ------------------------------------------------------------------------------ sizes

SIZES = [
    (0, "ValueError: {}: expected {} >= 1, got 0"),
    (-2, "ValueError: {}: expected {} >= 1, got -2"),
    (2.0, "TypeError: {}: expected {} to be an integer, got 2.0"),
    (True, "TypeError: {}: expected {} to be an integer, got True"),
    (np.True_, "TypeError: {}: expected {} to be an integer, got np.True_"),
    ("3", "TypeError: {}: expected {} to be an integer, got '3'"),
    (None, "TypeError: {}: expected {} to be an integer, got None"),
]
TAKERS = {
    "RNN(SIZE, 4)": "input_size",
    "RNN(3, SIZE)": "hidden_size",
    "LSTM(3, SIZE)": "hidden_size",
    "GRU(SIZE, 4)": "input_size",
    "Dense(SIZE, 4)": "input_size",
    "Dense(3, SIZE)": "output_size",
    "Embedding(SIZE, 4)": "vocab_size",
    "Embedding(3, SIZE)": "dim",
    "LayerNorm(SIZE)": "size",
    "Attention(SIZE, 4)": "query_size",
    "Attention(3, SIZE)": "key_size",
    "EncoderDecoder(SIZE, 4, 4, 4)": "source_vocab",
    "EncoderDecoder(4, SIZE, 4, 4)": "target_vocab",
    "EncoderDecoder(4, 4, SIZE, 4)": "dim",
    "EncoderDecoder(4, 4, 4, SIZE)": "hidden_size",
}


@pytest.mark.parametrize("code", TAKERS)
@pytest.mark.parametrize("value, error", SIZES, ids=[repr(v) for v, _ in SIZES])
def test_sizes_are_positive_integers(engine, code, value, error):
    written = code.replace("SIZE", repr(value))
    refuse(engine, written, error.format(code.split("(")[0], TAKERS[code]))


def test_numpy_integers_are_sizes(engine):
    assert engine.rl.LSTM(np.int64(3), np.int32(4)).hidden_size == 4


def test_a_dtype_may_be_named_by_its_numpy_object(engine):
    layer = engine.rl.LSTM(3, 4, dtype=np.dtype("float32"))
    assert type(layer.dtype) is str


def test_an_unknown_impl_is_named_with_those_that_exist():
    text = r"^LSTM\(3, 4\): expected impl to be one of 'auto'"
    with pytest.raises(ValueError, match=text + ", got 'loop'$"):
        Engine("numpy").rl.LSTM(3, 4, impl="loop")
    with pytest.raises(ValueError, match=text + ", 'loop', 'native'.*, got 'fast'$"):
        Engine("torch").rl.LSTM(3, 4, impl="fast")


def test_an_impl_that_cannot_run_says_why_and_does_not_fall_back():
    torch = Engine("torch")
    layer = torch.rl.GRU(3, 4, reset_after=False, impl="native")
    with pytest.raises(ValueError, match="impl='native' is not possible: torch has no"):
        layer(torch.put(np.zeros((2, 5, 3), "float32")))


def test_check_shape_says_what_it_got_when_that_is_no_array():
    text = r"^f: expected x to be an array of shape \(B,\), got NoneType$"
    with pytest.raises(TypeError, match=text):
        checks.check_shape("f", "x", None, ("B",))


# ------------------------------------------- what looks odd and is nevertheless fine


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32"])
def test_ids_of_any_integer_type_are_taken(engine, dtype):
    layer = engine.rl.Embedding(5, 2, seed=0)
    found, expected = (
        engine.get(layer(engine.put(np.array([[3, 1]], t)))) for t in (dtype, "int64")
    )
    np.testing.assert_array_equal(found, expected)


def test_read_only_and_reversed_arrays_load_without_a_warning(engine):
    layer = engine.rl.Dense(2, 3)
    W, b = np.arange(6.0).reshape(2, 3)[::-1], np.broadcast_to(1.0, 3)
    layer.load_state_dict({"W": W, "b": b})
    np.testing.assert_array_equal(engine.get(layer.state_dict()["W"]), W)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_unsorted_lengths_give_what_sorted_ones_give(engine, kind):
    layer = engine.rl.Bidirectional(getattr(engine.rl, kind)(3, 4, seed=0))
    x = np.random.default_rng(0).standard_normal((4, 5, 3)).astype("float32")
    lengths, order = np.array([2, 5, 1, 3]), np.array([1, 3, 0, 2])
    found = engine.get(layer(engine.put(x), lengths=lengths)[0])
    ordered = engine.get(layer(engine.put(x[order]), lengths=lengths[order])[0])
    np.testing.assert_allclose(found[order], ordered, atol=1e-6)


@pytest.mark.parametrize("junk", [np.nan, np.inf])
@pytest.mark.parametrize("front", [False, True], ids=["alone", "behind Dense"])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU", "before", "both"])
def test_junk_in_the_padding_reaches_neither_output_nor_gradient(
    engine, kind, front, junk
):
    rl = engine.rl
    make = {
        "before": lambda: rl.GRU(3, 3, reset_after=False, seed=0),
        "both": lambda: rl.Bidirectional(rl.LSTM(3, 3, seed=0)),
    }.get(kind, lambda: getattr(rl, kind)(3, 3, seed=0))
    layers = [rl.Dense(3, 3, seed=1), rl.LayerNorm(3)] if front else []
    model = rl.Sequential(*layers, make())
    lengths = np.array([2, 5])
    x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype("float32")
    bad = x.copy()
    bad[0, 2:] = junk
    clean = engine.measure(model, x, lengths=lengths)
    dirty = engine.measure(model, bad, lengths=lengths)
    for name, value in clean.items():
        np.testing.assert_array_equal(dirty[name], value, err_msg=name)


@pytest.mark.parametrize("junk", [np.nan, np.inf])
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_what_is_masked_reaches_neither_loss_nor_gradient(engine, loss, junk):
    mask = np.array([[True, False], [True, True]])
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((2, 2, 3))
    y = rng.integers(0, 3, (2, 2)) if loss == "cross_entropy" else scores + 1

    def measure(fill, target):
        a, b = scores.copy(), y.copy()
        a[0, 1], b[0, 1] = fill, target
        a = engine.put(a, grad=True)
        value = getattr(engine.rl, loss)(a, engine.put(b), mask=mask)
        if engine.name == "numpy":
            return value
        value.backward()
        return value.item(), engine.get(a.grad)

    (value, gradient), (expected, finite) = measure(junk, -7), measure(0, 0)
    assert value == expected
    np.testing.assert_array_equal(gradient, finite)


# --------------------------------------------------------------------- NumPy backward


def backward_cases():
    """Layer, shape of x, shape of y."""
    rl = Engine("numpy").rl
    return {
        "RNN": (rl.RNN(3, 4), (2, 5, 3), (2, 5, 4)),
        "LSTM": (rl.LSTM(3, 4, return_sequences=False), (2, 5, 3), (2, 4)),
        "GRU": (rl.GRU(3, 4), (2, 5, 3), (2, 5, 4)),
        "Bidirectional": (rl.Bidirectional(rl.GRU(3, 4)), (2, 5, 3), (2, 5, 8)),
        "Dense": (rl.Dense(3, 4, "softmax"), (2, 3), (2, 4)),
        "LayerNorm": (rl.LayerNorm(3), (2, 3), (2, 3)),
        "Dropout": (rl.Dropout(0.5), (2, 3), (2, 3)),
        "Embedding": (rl.Embedding(5, 4), (2, 3), (2, 3, 4)),
        "Sequential": (rl.Sequential(rl.Dense(3, 4)), (2, 3), (2, 4)),
    }


@pytest.fixture(params=backward_cases())
def differentiable(request):
    layer, shape, y_shape = backward_cases()[request.param]
    dtype = "int64" if request.param == "Embedding" else "float32"
    return layer, np.zeros(shape, dtype), y_shape


def test_backward_needs_a_forward_pass_each_time(differentiable):
    layer, x, y_shape = differentiable
    dy = np.ones(y_shape, "float32")
    text = "backward needs a forward pass before it$"
    with pytest.raises(RuntimeError, match=text):
        layer.backward(dy)
    layer(x)
    layer.backward(dy)
    with pytest.raises(RuntimeError, match=text):
        layer.backward(dy)


def test_backward_takes_only_a_dy_of_the_shape_of_y(differentiable):
    layer, x, y_shape = differentiable
    text = re.escape(f"expected dy of shape ({', '.join(map(str, y_shape))}), got ")
    for bad in (y_shape[:-1], (*y_shape, 1), (4, *y_shape[1:]), (*y_shape[:-1], 1)):
        layer(x)
        with pytest.raises(ValueError, match=text):
            layer.backward(np.ones(bad, "float32"))
    layer(x)
    with pytest.raises(TypeError, match="expected dy to be a"):
        layer.backward([0.0])


def test_backward_checks_the_gradient_of_the_state():
    layer = Engine("numpy").rl.GRU(3, 4)
    layer(np.zeros((2, 5, 3), "float32"))
    with pytest.raises(ValueError, match=r"expected dstate h of shape \(2, 4\), got"):
        layer.backward(np.zeros((2, 5, 4), "float32"), np.zeros((3, 4), "float32"))


def test_a_step_without_gradients_says_so():
    rl = Engine("numpy").rl
    text = "^SGD: step needs a backward pass before it; no gradient of W, b$"
    with pytest.raises(RuntimeError, match=text):
        rl.SGD(rl.Dense(3, 4), lr=0.1).step()


# ---------------------------------------------------------------------------------- fit


def weights(engine, model):
    return {k: np.array(engine.get(v)) for k, v in model.state_dict().items()}


def assert_same(found, expected):
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_number_stops_fit_before_it_reaches_the_weights(engine, bad):
    tools, twin = names(engine), names(engine)
    x, y = tools["x"], tools["y"]
    twin["fit"]([(x, y)], epochs=1)
    poisoned = x.copy()
    poisoned[2, 3, 1] = bad
    text = r"^fit: (loss|gradient norm) is nan at epoch 1, step 2 \(1 good steps before"
    with pytest.raises(FloatingPointError, match=text):
        tools["fit"]([(x, y), (poisoned, y)])
    assert_same(weights(engine, tools["model"]), weights(engine, twin["model"]))


def test_an_exploding_training_stops_naming_the_epoch(engine):
    rl = engine.rl
    model = rl.Sequential(rl.RNN(3, 4, "relu"), rl.Dense(4, 1), seed=0)
    batches = [(np.ones((2, 5, 3), "float32"), np.ones((2, 5, 1), "float32"))]
    with pytest.raises(FloatingPointError, match=r"at epoch \d+, step 1 "):
        names(engine)["fit"](batches, model=model, loss=rl.mse, lr=1e4, epochs=50)
    assert all(np.isfinite(v).all() for v in weights(engine, model).values())


def test_a_finite_loss_with_a_bad_gradient_stops_fit_too(engine):
    tools = names(engine)
    before = weights(engine, tools["model"])

    def loss(logits, y):
        if engine.name == "numpy":
            return 1.0, np.full_like(logits, np.nan)
        return 1.0 + (logits * 0).sqrt().sum()  # whose gradient is inf * 0

    with pytest.raises(FloatingPointError, match="^fit: gradient norm is nan at epoch"):
        tools["fit"](tools["batches"], loss=loss)
    assert_same(weights(engine, tools["model"]), before)


def test_fit_names_lists_in_a_batch(engine):
    tools = names(engine)
    x, y = tools["x"], tools["y"]
    for batch in ((x.tolist(), y), (x, y.tolist())):
        text = "expected [xy] to be a.* NumPy array, got list$"
        with pytest.raises(TypeError, match=text):
            tools["fit"]([batch])


def test_a_metric_is_no_loss_to_train_on(engine):
    tools = names(engine)
    with pytest.raises(TypeError, match="^fit: expected .*loss to be a"):
        tools["fit"](tools["batches"], loss=accuracy)


def test_an_optimizer_wants_a_model_of_its_engine(engine):
    foreign = names(engine)["foreign"]
    with pytest.raises(
        TypeError, match="^Adam: expected model to be a .*, got .*LSTM$"
    ):
        engine.rl.Adam(foreign)
