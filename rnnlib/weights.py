"""One table of parameter shapes, gate orders and initial values; readers for others'.

Both engines build their parameters from `shapes` and `initial`, so the same seed gives
the same numbers, bit for bit. `from_torch`, `from_keras` and `from_onnx` turn other
libraries' parameters into a state dict of ours. None of those libraries is imported:
the functions only look at names and arrays.

=======  ==========================================================  ==========
layer    parameters                                                  gate order
=======  ==========================================================  ==========
RNN      ``W_xh (I,H)  W_hh (H,H)  b_h (H,)``
LSTM     ``W_xh (I,4H)  W_hh (H,4H)  b_h (4H,)``                     i f g o
GRU      ``W_xh (I,3H)  W_hh (H,3H)  b_h (3H,)  [b_hn (H,)]``        r z n
MinGRU   ``W_xh (I,2H)  b_h (2H,)``                                  z n
MinLSTM  ``W_xh (I,3H)  b_h (3H,)``                                  i f g
=======  ==========================================================  ==========
"""

import numpy as np

GATES = {"RNN": "h", "LSTM": "ifgo", "GRU": "rzn", "MinGRU": "zn", "MinLSTM": "ifg"}
WITHOUT_STATE = ("MinGRU", "MinLSTM")  # whose gates do not look at the state

# The same gates in the order in which others store them, by our letters.
_KERAS = {"RNN": "h", "LSTM": "ifgo", "GRU": "zrn"}
_ONNX = {"RNN": "h", "LSTM": "iofg", "GRU": "zrn"}


def shapes(kind, input_size, hidden_size, reset_after=True):
    """Names and shapes of a recurrent layer's parameters.

    Parameters
    ----------
    kind : {"RNN", "LSTM", "GRU", "MinGRU", "MinLSTM"}
    input_size, hidden_size : int
        I and H.
    reset_after : bool, default=True
        Only for a GRU: with it the candidate has a second bias, ``b_hn``.

    Returns
    -------
    dict of str to tuple of int

    Examples
    --------
    >>> shapes("LSTM", 64, 128)
    {'W_xh': (64, 512), 'W_hh': (128, 512), 'b_h': (512,)}
    """
    width = len(GATES[kind]) * hidden_size
    table = {
        "W_xh": (input_size, width),
        "W_hh": (hidden_size, width),
        "b_h": (width,),
    }
    if kind in WITHOUT_STATE:
        del table["W_hh"]
    if kind == "GRU" and reset_after:
        table["b_hn"] = (hidden_size,)
    return table


def glorot(rng, fan_in, fan_out):
    """Draw uniformly on ±sqrt(6 / (fan_in + fan_out)).

    Parameters
    ----------
    rng : numpy.random.Generator
    fan_in, fan_out : int

    Returns
    -------
    ndarray of float64, of shape (fan_in, fan_out)

    References
    ----------
    Glorot and Bengio, 2010, equation 16.
    """
    limit = np.sqrt(6.0 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, (fan_in, fan_out))


def orthogonal(rng, n):
    """Draw an orthogonal matrix uniformly (Haar measure).

    Parameters
    ----------
    rng : numpy.random.Generator
    n : int

    Returns
    -------
    ndarray of float64, of shape (n, n)

    References
    ----------
    Saxe, McClelland and Ganguli, 2014, for its use. Turning the signs of the
    QR factor's diagonal makes the draw uniform: Mezzadri, 2007.
    """
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return q * np.sign(np.diagonal(r))


def initial(kind, rng, input_size, hidden_size, reset_after=True):
    """Initial values of a recurrent layer, drawn in float64.

    ``W_xh`` is Glorot uniform gate by gate, ``W_hh`` orthogonal gate by gate, biases
    are 0 and the LSTM's forget bias is 1 (Gers et al., 2000).

    Parameters
    ----------
    kind : {"RNN", "LSTM", "GRU", "MinGRU", "MinLSTM"}
    rng : numpy.random.Generator
    input_size, hidden_size : int
        I and H.
    reset_after : bool, default=True
        Only for a GRU.

    Returns
    -------
    dict of str to ndarray of float64
        With the names and shapes of `shapes`.
    """
    gates = GATES[kind]
    table = shapes(kind, input_size, hidden_size, reset_after)
    values = {"W_xh": np.hstack([glorot(rng, input_size, hidden_size) for _ in gates])}
    if "W_hh" in table:
        values["W_hh"] = np.hstack([orthogonal(rng, hidden_size) for _ in gates])
    for name in table.keys() - values.keys():
        values[name] = np.zeros(table[name])
    if kind in ("LSTM", "MinLSTM"):
        values["b_h"][hidden_size : 2 * hidden_size] = 1.0
    return {name: values[name] for name in table}


# ---------------------------------------------------------------- other libraries


def _reorder(array, source, target):
    """Permute the gate blocks of the last axis from one order to another."""
    blocks = dict(zip(source, np.split(array, len(source), axis=-1), strict=True))
    return np.concatenate([blocks[gate] for gate in target], axis=-1)


def _one_bias(kind, b_x, b_h, reset_after):
    """Merge an input and a recurrent bias (both in our gate order) into ours.

    Both are added before the nonlinearity, so only their sum matters, except in a GRU
    with reset_after, where the reset gate multiplies the recurrent one.
    """
    if kind == "GRU" and reset_after:
        H = len(b_x) // 3
        b = b_x + b_h
        b[2 * H :] = b_x[2 * H :]
        return {"b_h": b, "b_hn": b_h[2 * H :].copy()}
    return {"b_h": b_x + b_h}


def _numpy(array):
    if hasattr(array, "detach"):
        array = array.detach().cpu().numpy()
    return np.array(array)


def _both(forward, backward):
    return {
        **{f"forward.{k}": v for k, v in forward.items()},
        **{f"backward.{k}": v for k, v in backward.items()},
    }


def from_torch(module, layer=None):
    """State dict of the rnnlib layer that computes what a ``torch.nn`` module does.

    Parameters
    ----------
    module : torch.nn.RNN, LSTM, GRU, Embedding, Linear or LayerNorm
    layer : int, optional
        Which layer of a stacked recurrent module; needed when there is more than one.

    Returns
    -------
    dict of str to ndarray
        For `RNN`, `LSTM` or `GRU` (``reset_after=True``); of a bidirectional module
        for `Bidirectional`, with keys ``forward.…`` and ``backward.…``. torch's two
        biases become one; of a module without bias they become zeros.

    Raises
    ------
    TypeError
        For a module without a counterpart.
    ValueError
        For an LSTM with projections, or a stacked module when ``layer`` is not given.
    """
    kind = type(module).__name__
    state = {k: _numpy(v) for k, v in module.state_dict().items()}
    if kind == "Embedding":
        return {"W": state["weight"]}
    if kind == "Linear":
        W = state["weight"].T.copy()
        return {"W": W, "b": state.get("bias", np.zeros(W.shape[1], W.dtype))}
    if kind == "LayerNorm":
        if "weight" not in state:
            raise ValueError("from_torch: LayerNorm has no weights to take over")
        g = state["weight"]
        return {"g": g, "b": state.get("bias", np.zeros_like(g))}
    if kind not in GATES:
        raise TypeError(f"from_torch: no rnnlib layer computes torch.nn.{kind}")
    if getattr(module, "proj_size", 0):
        raise ValueError("from_torch: rnnlib's LSTM has no projection (proj_size)")
    if layer is None and module.num_layers > 1:
        raise ValueError(
            f"from_torch: {kind} has {module.num_layers} layers; say which: layer=0, …"
        )
    layer = layer or 0
    if not 0 <= layer < module.num_layers:
        raise ValueError(
            f"from_torch: expected layer in [0, {module.num_layers}), got {layer}"
        )

    def direction(suffix):
        W_xh = state[f"weight_ih_l{layer}{suffix}"].T.copy()
        W_hh = state[f"weight_hh_l{layer}{suffix}"].T.copy()
        none = np.zeros(W_xh.shape[1], W_xh.dtype)
        b_x = state.get(f"bias_ih_l{layer}{suffix}", none)
        b_h = state.get(f"bias_hh_l{layer}{suffix}", none)
        return {"W_xh": W_xh, "W_hh": W_hh, **_one_bias(kind, b_x, b_h, True)}

    if module.bidirectional:
        return _both(direction(""), direction("_reverse"))
    return direction("")


def from_keras(layer):
    """State dict of the rnnlib layer that computes what a Keras layer does.

    Parameters
    ----------
    layer : keras.layers.SimpleRNN, LSTM, GRU, Bidirectional, Embedding, Dense or \
LayerNormalization
        Built, so that it has weights. Read by ``get_weights()``: kernel
        ``(I, G·H)``, recurrent kernel ``(H, G·H)``, bias. Keras orders a GRU's gates
        z r n and keeps two biases when ``reset_after=True``.

    Returns
    -------
    dict of str to ndarray
        A Keras layer with ``go_backwards=True`` matches ours with ``reverse=True``,
        but Keras returns such a sequence in reading order of the reversed pass.
        Activations and ``epsilon`` are no weights: Keras's LayerNorm has ``eps=1e-3``.

    Raises
    ------
    TypeError
        For a layer without a counterpart.
    ValueError
        If the layer has no weights yet, or activations or a merge mode that ours has
        not. A `SimpleRNN`'s activation is yours to pass on to `RNN`.
    """
    kind = {"SimpleRNN": "RNN"}.get(type(layer).__name__, type(layer).__name__)
    if kind == "Bidirectional":
        _expect(kind, layer, "merge_mode", "concat")
        return _both(from_keras(layer.forward_layer), from_keras(layer.backward_layer))
    if kind not in (*GATES, "Embedding", "Dense", "LayerNormalization"):
        raise TypeError(f"from_keras: no rnnlib layer computes Keras's {kind}")
    arrays = [_numpy(a) for a in layer.get_weights()]
    if not arrays:
        raise ValueError(f"from_keras: {kind} has no weights yet: build it first")
    if kind == "Embedding":
        return {"W": arrays[0]}
    if kind == "LayerNormalization":
        g = arrays[0] if layer.scale else np.ones_like(arrays[0])
        return {"g": g, "b": arrays[-1] if layer.center else np.zeros_like(g)}
    if kind == "Dense":
        W = arrays[0]
        return {"W": W, "b": arrays[1] if len(arrays) > 1 else _zeros(W)}
    if kind != "RNN":  # an RNN has its activation as an argument, the others do not
        _expect(kind, layer, "activation", "tanh")
        _expect(kind, layer, "recurrent_activation", "sigmoid")
    order, ours = _KERAS[kind], GATES[kind]
    W_xh, W_hh = (_reorder(a, order, ours) for a in arrays[:2])
    bias = arrays[2] if len(arrays) > 2 else _zeros(W_xh)
    bias = _reorder(bias, order, ours)
    reset_after = bool(getattr(layer, "reset_after", False))
    b_x, b_h = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
    return {"W_xh": W_xh, "W_hh": W_hh, **_one_bias(kind, b_x, b_h, reset_after)}


def _expect(kind, layer, name, value):
    """Raise if a Keras layer is set to compute something that ours does not."""
    found = getattr(layer, name, value)
    found = getattr(found, "__name__", found)
    if found != value:
        raise ValueError(
            f"from_keras: {kind} with {name}={found!r}; ours has {value!r}"
        )


def _zeros(W):
    return np.zeros(W.shape[1], W.dtype)


def from_onnx(op, W, R, B=None, *, linear_before_reset=0):
    """State dict of the rnnlib layer that computes what an ONNX operator does.

    Parameters
    ----------
    op : {"RNN", "LSTM", "GRU"}
        ONNX orders the gates i o f c in an LSTM and z r h in a GRU.
    W : array of shape (D, G·H, I)
        Input weights; D is 1 (forward or reverse) or 2 (bidirectional).
    R : array of shape (D, G·H, H)
        Recurrence weights.
    B : array of shape (D, 2·G·H), optional
        Input biases, then recurrence biases; zeros when absent.
    linear_before_reset : {0, 1}, default=0
        A GRU's attribute; 1 is our ``reset_after=True``.

    Returns
    -------
    dict of str to ndarray
        For direction ``reverse`` load it into a layer with ``reverse=True``; for D = 2
        into `Bidirectional`.
        Layout 1 is our (B, T, I), ``sequence_lens`` our ``lengths``, and row d of
        ``initial_h`` (and ``initial_c``) the state of direction d. An RNN's
        activation is yours to pass on to `RNN`.

    Raises
    ------
    ValueError
        For another operator, or shapes that do not fit together.

    References
    ----------
    https://onnx.ai/onnx/operators/onnx__RNN.html
    https://onnx.ai/onnx/operators/onnx__LSTM.html
    https://onnx.ai/onnx/operators/onnx__GRU.html
    """
    if op not in GATES:
        raise ValueError(f"from_onnx: expected op RNN, LSTM or GRU, got {op!r}")
    W, R = _numpy(W), _numpy(R)
    G, D = len(GATES[op]), len(W)
    if W.ndim != 3 or R.ndim != 3 or D not in (1, 2):
        raise ValueError(
            f"from_onnx: expected W (D, {G}H, I) and R (D, {G}H, H) with D = 1 or 2, "
            f"got {W.shape} and {R.shape}"
        )
    H = R.shape[2]
    if W.shape[1] != G * H or R.shape[:2] != (D, G * H):
        raise ValueError(
            f"from_onnx: {op} with H = {H} needs {G * H} rows in W and R, "
            f"got {W.shape} and {R.shape}"
        )
    B = np.zeros((D, 2 * G * H), W.dtype) if B is None else _numpy(B)
    if B.shape != (D, 2 * G * H):
        raise ValueError(
            f"from_onnx: expected B of shape {(D, 2 * G * H)}, got {B.shape}"
        )

    def direction(d):
        order, ours = _ONNX[op], GATES[op]
        b_x, b_h = (_reorder(b, order, ours) for b in np.split(B[d], 2))
        return {
            "W_xh": _reorder(W[d].T, order, ours),
            "W_hh": _reorder(R[d].T, order, ours),
            **_one_bias(op, b_x, b_h, bool(linear_before_reset)),
        }

    return direction(0) if D == 1 else _both(direction(0), direction(1))
