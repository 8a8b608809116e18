"""The two engines behind one face: NumPy arrays go in, NumPy arrays come out."""

import importlib

import numpy as np

# Every kind of recurrent layer, from I = 3 to H = 4.
KINDS = {
    "RNN-tanh": ("RNN", {"activation": "tanh"}),
    "RNN-relu": ("RNN", {"activation": "relu"}),
    "RNN-leaky_relu": ("RNN", {"activation": "leaky_relu"}),
    "RNN-sigmoid": ("RNN", {"activation": "sigmoid"}),
    "LSTM": ("LSTM", {}),
    "GRU": ("GRU", {"reset_after": True}),
    "GRU-reset-before": ("GRU", {"reset_after": False}),
    "MinGRU": ("MinGRU", {}),
    "MinLSTM": ("MinLSTM", {}),
    "StateSpace": ("StateSpace", {"state_size": 2}),
}
SCANS = ("MinGRU", "MinLSTM", "StateSpace")  # kinds that are linear in the state
NATIVE = ("RNN-tanh", "RNN-relu", "LSTM", "GRU")  # kinds that torch has a kernel for
B, T, I, H = 3, 4, 3, 4  # noqa: E741
LENGTHS = np.array([2, 4, 1])  # unsorted

ENCODER_DECODERS = {  # options of every kind of EncoderDecoder
    f"{cell}, {attention}, {'both' if both else 'one'}, {layers}": {
        "cell": cell,
        "attention": attention,
        "bidirectional": both,
        "layers": layers,
    }
    for cell in ("RNN", "LSTM", "GRU")
    for attention in (None, "dot", "additive")
    for both in (False, True)
    for layers in (1, 2)
}


def recurrent(rl, kind, direction="forward", bias_seed=1, **options):
    """A layer of one of the KINDS, with biases that are not zero."""
    name, extra = KINDS[kind]
    options = {"seed": 0, "dtype": "float64", **extra, **options}
    if direction == "reverse":
        options["reverse"] = True
    layer = getattr(rl, name)(I, H, **options)
    if direction == "both":
        layer = rl.Bidirectional(layer)
    rng = np.random.default_rng(bias_seed)
    state = layer.state_dict()
    for key, value in state.items():
        if key.split(".")[-1].startswith("b"):
            state[key] = np.asarray(value) + rng.normal(0, 0.5, tuple(value.shape))
    layer.load_state_dict(state)
    return layer


def initial_state(kind, direction="forward", dtype="float64", rows=B, seed=2):
    """A random state for `recurrent`."""
    rng = np.random.default_rng(seed)

    def one():
        width = 2 * H if kind == "StateSpace" else H
        h, c = rng.standard_normal((2, rows, width)).astype(dtype)
        return (h, c) if kind == "LSTM" else h

    return (one(), one()) if direction == "both" else one()


def inputs(dtype="float64", steps=T, rows=B, seed=3):
    """A random x of shape (rows, steps, I)."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, steps, I)).astype(dtype)


def leaves(tree):
    """The arrays of nested tuples and lists, in order."""
    if not isinstance(tree, tuple | list):
        return [tree]
    return [leaf for branch in tree for leaf in leaves(branch)]


def like(tree, values):
    """The nested ``tree`` with its arrays replaced by the next ``values``."""
    if not isinstance(tree, tuple | list):
        return next(values)
    return type(tree)(like(branch, values) for branch in tree)


class Engine:
    """``numpy``, ``torch`` or, for torch on a GPU, ``cuda``."""

    def __init__(self, name):
        self.name = name
        self.rl = importlib.import_module(
            "rnnlib.numpy" if name == "numpy" else "rnnlib.torch"
        )

    def __repr__(self):
        return self.name

    def put(self, tree, grad=False):
        """NumPy arrays (None passes) as the engine's own."""
        if isinstance(tree, tuple | list):
            return type(tree)(self.put(branch, grad) for branch in tree)
        if self.name == "numpy" or tree is None:
            return tree
        import torch

        device = "cuda" if self.name == "cuda" else "cpu"
        tensor = torch.tensor(tree, device=device)
        return tensor.requires_grad_(grad and tensor.is_floating_point())

    def get(self, tree):
        """The engine's arrays (None passes) as NumPy ones."""
        if isinstance(tree, tuple | list):
            return type(tree)(map(self.get, tree))
        return tree.detach().cpu().numpy() if hasattr(tree, "detach") else tree

    def place(self, layer):
        """The layer on the engine's device."""
        return layer.cuda() if self.name == "cuda" else layer

    def measure(self, layer, x, state=None, seed=4, **options):
        """Everything a layer computes, by name, as NumPy arrays.

        The outputs are ``y``, ``state 0``, …; the gradients of ``sum(y * G) +
        sum(state * G')`` with random G are ``dx``, ``dstate 0``, … and ``dW_xh``, ….
        """
        x = self.put(x, grad=True)
        if state is not None:
            options["state"] = state = self.put(state, grad=True)
        result = self.place(layer)(x, **options)
        outputs = leaves(result)
        rng = np.random.default_rng(seed)
        G = [rng.standard_normal(tuple(o.shape)) for o in outputs]
        G = self.put(
            [g.astype(self.get(o).dtype) for g, o in zip(G, outputs, strict=True)]
        )
        if self.name == "numpy":
            if isinstance(result, tuple):
                dx = layer.backward(G[0], dstate=like(result[1], iter(G[1:])))
                dstate = layer.dstate
            else:
                dx, dstate = layer.backward(G[0]), None
            grads = layer.grads
        else:
            sum((o * g).sum() for o, g in zip(outputs, G, strict=True)).backward()
            dx = x.grad
            dstate = None if state is None else [s.grad for s in leaves(state)]
            grads = {name: p.grad for name, p in layer.named_parameters()}
        named = {"y": outputs[0]}
        named |= {f"state {k}": s for k, s in enumerate(outputs[1:])}
        named |= {} if dx is None else {"dx": dx}
        if state is not None:
            named |= {f"dstate {k}": s for k, s in enumerate(leaves(dstate))}
        named |= {f"d{name}": g for name, g in grads.items()}
        return {name: self.get(a) for name, a in named.items()}


def worst_error(found, expected):
    """Largest ``|found - expected| / max(1, |expected|)``; NaN counts as infinite."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, f"{found.shape} is not {expected.shape}"
    error = np.abs(found - expected) / np.maximum(1, np.abs(expected))
    return float(np.nan_to_num(error, nan=np.inf).max(initial=0))


def assert_close(found, expected, tolerance):
    """Two dicts have the same names, dtypes and, within the tolerance, values."""
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        error = worst_error(found[name], value)
        assert error <= tolerance, f"{name}: off by {error:.1e} > {tolerance:.0e}"
