"""Layers with ONNX weights compute what the operators RNN, LSTM and GRU define.

The operators are written out below from the formulas of the standard, one row and one
step after another, with nothing shared with `rnnlib`: every direction, with and without
biases, lengths and initial states, in both layouts, for every activation that our RNN
has and both kinds of GRU. Peepholes, ``clip`` and ``input_forget`` have no counterpart.
"""

import numpy as np
import pytest

from rnnlib import weights
from tests.engines import LENGTHS, B, H, I, inputs
from tests.test_weights import close, load, sigmoid

ONNX_GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
ONNX_ACTIVATIONS = {
    "Tanh": np.tanh,
    "Sigmoid": sigmoid,
    "Relu": lambda a: np.maximum(a, 0),
    "LeakyRelu": lambda a: np.where(a < 0, 0.01 * a, a),  # its default alpha
}


def onnx_step(op, x, h, c, W, R, b, f, linear_before_reset):
    """One step of an operator from its definition; W, R, b of one direction."""
    gates = ONNX_GATES[op]
    W, R = np.split(W, gates), np.split(R, gates)
    Wb, Rb = (np.split(part, gates) for part in np.split(b, 2))
    if op == "RNN":  # Ht = f(Xt Wi^T + Ht-1 Ri^T + Wbi + Rbi)
        return f(x @ W[0].T + h @ R[0].T + Wb[0] + Rb[0]), c
    if op == "LSTM":
        a_i, a_o, a_f, a_c = (x @ W[k].T + h @ R[k].T + Wb[k] + Rb[k] for k in range(4))
        c = sigmoid(a_f) * c + sigmoid(a_i) * np.tanh(a_c)
        return sigmoid(a_o) * np.tanh(c), c
    z = sigmoid(x @ W[0].T + h @ R[0].T + Wb[0] + Rb[0])
    r = sigmoid(x @ W[1].T + h @ R[1].T + Wb[1] + Rb[1])
    if linear_before_reset:
        n = np.tanh(x @ W[2].T + r * (h @ R[2].T + Rb[2]) + Wb[2])
    else:
        n = np.tanh(x @ W[2].T + (r * h) @ R[2].T + Rb[2] + Wb[2])
    return (1 - z) * n + z * h, c


def onnx_operator(
    op,
    X,
    W,
    R,
    B=None,
    sequence_lens=None,
    initial_h=None,
    initial_c=None,
    *,
    direction="forward",
    layout=0,
    activation="Tanh",
    linear_before_reset=0,
):
    """The outputs Y, Y_h and Y_c that the standard defines, row by row in float64.

    Layout 0 has X (T, B, I), Y (T, D, B, H) and states (D, B, H); layout 1 has
    X (B, T, I), Y (B, T, D, H) and states (B, D, H).
    """
    if layout == 1:
        X = X.transpose(1, 0, 2)
        initial_h, initial_c = (
            None if a is None else a.transpose(1, 0, 2) for a in (initial_h, initial_c)
        )
    (T, rows, _), D, H = X.shape, len(W), R.shape[2]
    B = np.zeros((D, 2 * W.shape[1])) if B is None else B
    lengths = [T] * rows if sequence_lens is None else sequence_lens
    Y, Y_h, Y_c = np.zeros((T, D, rows, H)), *np.zeros((2, D, rows, H))
    for d in range(D):
        backwards = direction == "reverse" or d == 1
        for row, length in enumerate(lengths):
            h = np.zeros(H) if initial_h is None else initial_h[d, row]
            c = np.zeros(H) if initial_c is None else initial_c[d, row]
            for t in range(length)[:: -1 if backwards else 1]:
                h, c = onnx_step(
                    op, X[t, row].astype("float64"), h, c, W[d], R[d], B[d],
                    ONNX_ACTIVATIONS[activation], linear_before_reset,
                )  # fmt: skip
                Y[t, d, row] = h
            Y_h[d, row], Y_c[d, row] = h, c
    if layout == 1:
        Y = Y.transpose(2, 0, 1, 3)
        Y_h, Y_c = Y_h.transpose(1, 0, 2), Y_c.transpose(1, 0, 2)
    return Y, Y_h, Y_c


def our_operator(
    engine,
    op,
    X,
    W,
    R,
    B=None,
    sequence_lens=None,
    initial_h=None,
    initial_c=None,
    *,
    direction="forward",
    layout=0,
    activation="Tanh",
    linear_before_reset=0,
):
    """The same arguments and outputs, computed by a layer of ours in float32."""
    hidden, options = R.shape[2], {"reverse": direction == "reverse"}
    if op == "RNN":
        names = {"LeakyRelu": "leaky_relu"}
        options["activation"] = names.get(activation, activation.lower())
    if op == "GRU":
        options["reset_after"] = bool(linear_before_reset)
    layer = getattr(engine.rl, op)(W.shape[2], hidden, **options)
    both = direction == "bidirectional"
    layer = engine.place(engine.rl.Bidirectional(layer) if both else layer)
    load(layer, weights.from_onnx(op, W, R, B, linear_before_reset=linear_before_reset))

    batch_first = (0, 1, 2) if layout else (1, 0, 2)
    state = None
    if initial_h is not None:
        arrays = [initial_h] if initial_c is None else [initial_h, initial_c]
        arrays = [np.moveaxis(a, 1, 0) if layout else a for a in arrays]  # (D, B, H)
        arrays = [np.ascontiguousarray(a) for a in arrays]
        state = tuple(
            tuple(a[d] for a in arrays) if op == "LSTM" else arrays[0][d]
            for d in range(len(W))
        )
        state = engine.put(state if both else state[0])
    x = engine.put(np.ascontiguousarray(X.transpose(batch_first)))
    y, state = layer(x, state=state, lengths=sequence_lens)
    y, state = engine.get(y), engine.get(state if both else (state,))
    h, c = zip(*state, strict=True) if op == "LSTM" else (state, None)
    Y = y.reshape(*y.shape[:2], len(W), hidden)  # (B, T, D, H)
    Y = Y if layout else Y.transpose(1, 2, 0, 3)
    h, c = (None if a is None else np.stack(a, axis=layout) for a in (h, c))
    return Y, h, c


def assert_operator(op, engine, *inputs, **attributes):
    """Our layer computes the operator within 1e-5; returns what the standard says."""
    expected = onnx_operator(op, *inputs, **attributes)
    found = our_operator(engine, op, *inputs, **attributes)
    for a, e in zip(found, expected, strict=True):
        if a is not None:
            assert a.dtype == np.float32
            close(a, e, 1e-5)
    return expected


def onnx_weights(op, D, with_b=True):
    G = ONNX_GATES[op]
    rng = np.random.default_rng(1)
    shapes = [(D, G * H, I), (D, G * H, H), (D, 2 * G * H)]
    W, R, b = (rng.normal(0, 0.7, shape).astype("float32") for shape in shapes)
    return (W, R, b) if with_b else (W, R, None)


ONNX = {
    **{f"RNN-{name}": ("RNN", {"activation": name}) for name in ONNX_ACTIVATIONS},
    "LSTM": ("LSTM", {}),
    "GRU-0": ("GRU", {"linear_before_reset": 0}),
    "GRU-1": ("GRU", {"linear_before_reset": 1}),
}


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("initial", [False, True], ids=["zeros", "initial"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize("with_b", [True, False], ids=["B", "no-B"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("name", ONNX)
def test_layers_compute_what_onnx_operators_define(
    name, direction, with_b, lengths, initial, layout, engine
):
    op, attributes = ONNX[name]
    D = 1 + (direction == "bidirectional")
    X = inputs("float32", seed=8)  # (B, T, I)
    h, c = np.random.default_rng(9).standard_normal((2, B, D, H)).astype("float32")
    if layout == 0:
        X, h, c = (a.transpose(1, 0, 2) for a in (X, h, c))
    h = h if initial else None
    c = c if initial and op == "LSTM" else None
    assert_operator(
        op, engine, X, *onnx_weights(op, D, with_b), lengths, h, c,
        direction=direction, layout=layout, **attributes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def onnx_itself():
    """Runs one recurrent operator in onnxruntime."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT

    def run(op, X, arrays, lengths, direction, attributes):
        options = dict(attributes)
        if name := options.pop("activation", None):
            options["activations"] = [name] * len(arrays[0])
        outputs = ["Y", "Y_h", *(["Y_c"] if op == "LSTM" else [])]
        feed = {"X": X}
        feed |= {n: a for n, a in zip("WRB", arrays, strict=True) if a is not None}
        names = [n if n in feed else "" for n in "XWRB"]
        if lengths is not None:
            feed["lengths"] = np.asarray(lengths, "int32")
            names.append("lengths")
        node = helper.make_node(
            op, names, outputs, hidden_size=H, direction=direction, **options
        )
        kinds = {
            np.dtype("float32"): float32,
            np.dtype("int32"): onnx.TensorProto.INT32,
        }
        graph = helper.make_graph(
            [node],
            op,
            [
                helper.make_tensor_value_info(n, kinds[a.dtype], a.shape)
                for n, a in feed.items()
            ],
            [helper.make_tensor_value_info(n, float32, None) for n in outputs],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
        )
        session = runtime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return session.run(None, feed)

    return run


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize("with_b", [True, False], ids=["B", "no-B"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("name", ONNX)
def test_our_transcription_of_the_operators_is_what_onnxruntime_computes(
    name, direction, with_b, lengths, onnx_itself
):
    op, attributes = ONNX[name]
    arrays = onnx_weights(op, 1 + (direction == "bidirectional"), with_b)
    X = np.ascontiguousarray(inputs("float32", seed=8).transpose(1, 0, 2))
    expected = onnx_operator(op, X, *arrays, lengths, direction=direction, **attributes)
    found = onnx_itself(op, X, arrays, lengths, direction, attributes)
    for one, other in zip(found, expected, strict=False):  # only an LSTM has Y_c
        close(one, other, 1e-5)


# Cases of ONNX 1.23's own node tests, and what they expect of every hidden unit. X
# counts 1, 2, 3, …; all weights of a direction are the same, and the input biases.
BATCH, STREAM = (1, 3, 2), (3, 1, 2)  # T, B, I; or B, T, I in layout 1
ONNX_CASES = {
    "simple_rnn_defaults": (
        BATCH, 4, 0.1, 0, {}, {"Y_h": [0.291312635, 0.604367793, 0.800499022]}
    ),
    "simple_rnn_with_initial_bias": (
        (1, 3, 3), 5, 0.1, 0.1, {}, {"Y_h": [0.604367793, 0.92166853, 0.986614287]}
    ),
    "simple_rnn_batchwise": (
        STREAM, 4, 0.5, 0, {"layout": 1},
        {"Y": [0.905148208, 0.998177886, 0.999966621],
         "Y_h": [0.905148208, 0.998177886, 0.999966621]},
    ),
    "simple_rnn_reverse": (
        STREAM, 4, 0.1, 0, {"direction": "reverse"}, {"Y_h": [0.542703032]}
    ),
    "simple_rnn_bidirectional": (
        STREAM, 4, (0.5, 2.0), 0, {"direction": "bidirectional"},
        {"Y_h": [0.999999404, 1.0]},
    ),
    "lstm_defaults": (
        BATCH, 3, 0.1, 0, {}, {"Y_h": [0.0952412039, 0.256064475, 0.40323776]}
    ),
    "lstm_with_initial_bias": (
        (1, 3, 3), 4, 0.1, 0.1, {}, {"Y_h": [0.256064475, 0.536727786, 0.667213202]}
    ),
    "lstm_batchwise": (
        STREAM, 7, 0.3, 0, {"layout": 1},
        {"Y": [0.33369261, 0.622393191, 0.718578994],
         "Y_h": [0.33369261, 0.622393191, 0.718578994]},
    ),
    "lstm_reverse": (
        STREAM, 3, 0.1, 0, {"direction": "reverse"},
        {"Y_h": [0.404125035], "Y_c": [0.797023296]},
    ),
    "lstm_bidirectional": (
        STREAM, 3, (0.5, 2.0), 0, {"direction": "bidirectional"},
        {"Y_h": [0.990224421, 0.995046973], "Y_c": [2.71291304, 2.99997711]},
    ),
    "gru_defaults": (
        BATCH, 5, 0.1, 0, {}, {"Y_h": [0.123970278, 0.200536609, 0.199916527]}
    ),
    "gru_with_initial_bias": (
        (1, 3, 3), 3, 0.1, 0.1, {}, {"Y_h": [0.200536609, 0.154823378, 0.0748427585]}
    ),
    "gru_batchwise": (
        STREAM, 6, 0.2, 0, {"layout": 1},
        {"Y": [0.190300152, 0.175136805, 0.0973308235],
         "Y_h": [0.190300152, 0.175136805, 0.0973308235]},
    ),
    "gru_reverse": (
        STREAM, 5, 0.1, 0, {"direction": "reverse"},
        {"Y": [0.355675548, 0.338319719, 0.199916527], "Y_h": [0.355675548]},
    ),
    "gru_bidirectional": (
        STREAM, 5, (0.5, 2.0), 0, {"direction": "bidirectional"},
        {"Y": [0.165122107, 0.00247338158, 0.181463823, 8.34465027e-07,
               0.183583513, 0.0],
         "Y_h": [0.183583513, 0.00247338158]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ONNX_CASES)
def test_layers_pass_onnx_s_own_cases(name, engine):
    shape, units, weight, bias, attributes, golden = ONNX_CASES[name]
    op = "RNN" if "rnn" in name else name.split("_")[0].upper()
    X = np.arange(1, 1 + np.prod(shape), dtype="float32").reshape(shape)
    scale = np.reshape(weight, (-1, 1, 1)).astype("float32")
    rows = ONNX_GATES[op] * units
    W, R = (scale * np.ones((rows, n), "float32") for n in (shape[2], units))
    b = np.zeros((len(scale), 2 * rows), "float32")
    b[:, :rows] = bias
    expected = assert_operator(op, engine, X, W, R, b, **attributes)
    for array, key in zip(expected, ("Y", "Y_h", "Y_c"), strict=True):
        if key in golden:
            values = np.array(golden[key])
            close(array, np.tile(values.reshape(*array.shape[:-1], 1), units), 1e-6)


@pytest.mark.parametrize(
    ("op", "change", "message"),
    [
        ("CNN", {}, "expected op RNN, LSTM or GRU, got 'CNN'"),
        ("LSTM", {"W": np.zeros((16, 3))}, "expected W .D, 4H, I."),
        ("LSTM", {"W": np.zeros((3, 16, 3)), "R": np.zeros((3, 16, 4))}, "D = 1 or 2"),
        ("GRU", {}, "GRU with H = 4 needs 12 rows"),
        ("LSTM", {"R": np.zeros((2, 16, 4))}, "LSTM with H = 4 needs 16 rows"),
        ("LSTM", {"B": np.zeros((1, 16))}, r"expected B of shape \(1, 32\), got"),
    ],
)
def test_what_cannot_come_from_onnx(op, change, message):
    W, R, b = onnx_weights("LSTM", 1)
    given = {"W": W, "R": R, "B": b} | change
    with pytest.raises(ValueError, match=f"from_onnx: .*{message}"):
        weights.from_onnx(op, **given)
