"""Say clearly what is wrong with an input, and prove that a gradient is right.

Every error of the library is raised here or worded the same way: the layer, what it
expected, what it found. Nothing in this file knows whether an array belongs to NumPy
or to torch: it only looks at ``shape`` and ``dtype``.
"""

import numbers
import operator
from collections.abc import Mapping

import numpy as np

FLOATS = ("float32", "float64")


def shape_text(shape):
    """Text of a shape: ``(2, 3)``, or ``(None, 3)`` where any size will do."""
    inner = ", ".join(str(n) for n in shape)
    return f"({inner},)" if len(shape) == 1 else f"({inner})"


def type_name(value):
    """Name of a value's type with its module: ``"torch.Tensor"``, but ``"list"``."""
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def check_type(owner, name, value, kind, text):
    """Raise TypeError unless ``value`` is a ``kind``; messages call that ``text``."""
    if not isinstance(value, kind):
        raise TypeError(
            f"{owner}: expected {name} to be {text}, got {type_name(value)}"
        )


def check_shape(owner, name, array, expected):
    """Raise unless ``array`` has the expected shape.

    Parameters
    ----------
    owner : object
        The layer or function that asks; its text opens the message.
    name : str
        What the array is called there.
    array : array
        Anything with a ``shape``.
    expected : tuple of (int or str)
        A number must match; a letter such as ``"B"`` stands for any size above zero.

    Raises
    ------
    TypeError
        If ``array`` has no shape.
    ValueError
        If the shapes differ or a free size is 0.

    Examples
    --------
    >>> check_shape("LSTM(64, 128)", "x", np.zeros((32, 10, 63)), ("B", "T", 64))
    Traceback (most recent call last):
    ValueError: LSTM(64, 128): expected x of shape (B, T, 64), got (32, 10, 63)
    """
    shape = getattr(array, "shape", None)
    if shape is None:
        raise TypeError(
            f"{owner}: expected {name} to be an array of shape {shape_text(expected)}, "
            f"got {type_name(array)}"
        )
    fits = len(shape) == len(expected) and all(
        n == e if isinstance(e, int) else n > 0
        for n, e in zip(shape, expected, strict=True)
    )
    if not fits:
        empty = " (empty)" if 0 in shape else ""
        raise ValueError(
            f"{owner}: expected {name} of shape {shape_text(expected)}, "
            f"got {shape_text(shape)}{empty}"
        )


def dtype_name(array):
    """Name of an array's dtype, the same for NumPy and torch: ``"float32"``."""
    return str(array.dtype).removeprefix("torch.")


def check_dtype(owner, name, array, dtype):
    """Raise TypeError unless ``array`` has exactly the dtype ``dtype``."""
    found = dtype_name(array)
    if found != dtype:
        raise TypeError(f"{owner}: expected {name} of dtype {dtype}, got {found}")


def check_floats(owner, name, array):
    """Raise TypeError unless ``array`` holds floats of any width."""
    found = dtype_name(array)
    if not found.startswith(("float", "bfloat")):
        raise TypeError(f"{owner}: expected {name} to be floats, got dtype {found}")


def check_size(owner, name, value, least=1):
    """Return ``value`` as an int of at least ``least``, or raise."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{owner}: expected {name} to be an integer, got {value!r}")
    if number < least:
        raise ValueError(f"{owner}: expected {name} >= {least}, got {value!r}")
    return number


def check_number(owner, name, value, fits, wanted):
    """Return ``value``, a real number for which ``fits(value)`` is true, or raise.

    ``wanted`` says so in the message: ``"in [0, 1)"``.
    """
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{owner}: expected {name} to be a number, got {value!r}")
    if not fits(value):
        raise ValueError(f"{owner}: expected {name} {wanted}, got {value!r}")
    return value


def check_choice(owner, name, value, choices):
    """Return the one of ``choices`` that ``value`` equals, or raise ValueError."""
    if value not in choices:
        listed = ", ".join(repr(c) for c in choices)
        raise ValueError(
            f"{owner}: expected {name} to be one of {listed}, got {value!r}"
        )
    return choices[choices.index(value)]


def check_ids(owner, ids, low, high, name="ids"):
    """Raise unless ``ids`` are integers in ``[low, high)``; floats are never cast."""
    found = dtype_name(ids)
    if not found.startswith(("int", "uint")):
        raise TypeError(f"{owner}: expected {name} to be integers, got dtype {found}")
    least, most = int(ids.min()), int(ids.max())
    if least < low or most >= high:
        wrong = least if least < low else most
        raise ValueError(f"{owner}: expected {name} in [{low}, {high}), got {wrong}")


def check_lengths(owner, lengths, B, T):
    """Return ``lengths`` as an int64 NumPy array of shape (B,), or raise.

    They may come in any order; each must lie in 1..T.
    """
    if hasattr(lengths, "detach"):  # a tensor, possibly on a GPU
        lengths = lengths.detach().cpu().numpy()
    lengths = np.asarray(lengths)
    check_shape(owner, "lengths", lengths, (B,))
    check_ids(owner, lengths, 1, T + 1, name="lengths")
    return lengths.astype(np.int64)


def check_state_dict(owner, expected, given):
    """Raise ValueError naming every key that is missing, unknown or misshapen.

    ``expected`` maps names to shapes, ``given`` maps names to arrays.
    """
    check_type(owner, "state dict", given, Mapping, "a dict of arrays by name")
    wrong = [
        f"missing {k} {shape_text(s)}" for k, s in expected.items() if k not in given
    ]
    wrong += [f"unknown {k}" for k in given if k not in expected]
    wrong += [
        f"{k}: expected {shape_text(expected[k])}, got {shape_text(np.shape(v))}"
        for k, v in given.items()
        if k in expected and tuple(np.shape(v)) != tuple(expected[k])
    ]
    if wrong:
        raise ValueError(f"{owner}: state dict does not fit: " + "; ".join(wrong))


def numerical_gradient(function, array, eps=1e-6):
    """Central differences of a scalar function, entry by entry.

    Parameters
    ----------
    function : callable
        Takes no argument, reads ``array``, returns a float.
    array : ndarray of float64
        Changed in place while measuring, and restored.
    eps : float, default=1e-6
        Step, relative to ``max(1, |entry|)``.

    Returns
    -------
    ndarray of the shape of ``array``
        ``(f(a + e) - f(a - e)) / 2e``, with an error of order e squared.

    Examples
    --------
    >>> a = np.array([3.0])
    >>> numerical_gradient(lambda: float(a[0] ** 2), a).round(6)
    array([6.])
    """
    grad = np.empty_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        e = eps * max(1.0, abs(kept))
        array[index] = kept + e
        above = function()
        array[index] = kept - e
        below = function()
        array[index] = kept
        grad[index] = (above - below) / (2 * e)
    return grad


def gradient_check(subject, *inputs, tolerance=1e-7, eps=1e-6, seed=0, **options):
    """Compare every entry of every gradient with central differences.

    The scalar that is differentiated is ``sum(y * G)`` for a fixed random ``G``, so
    that no gradient entry can hide. For a recurrent layer the returned state is
    weighted in as well, and the gradient that reaches the initial state is checked too.

    Parameters
    ----------
    subject : layer or function
        A NumPy layer in float64, called as ``subject(*inputs, **options)``, which
        returns y, or y and a state or attention weights; or a
        function of the float64 ``inputs`` returning ``(value, gradients)`` with one
        gradient (or None, to skip it) per input.
    *inputs : ndarray of any shape
        Float64 inputs are differentiated; integer ids, or a tuple of them, are passed
        through.
    tolerance : float, default=1e-7
        Largest ``|analytic - numeric| / max(1, |analytic|, |numeric|)`` allowed.
    eps : float, default=1e-6
        Step of the central difference.
    seed : int, default=0
        Seed of ``G``.
    **options
        Passed to the layer; a float64 ``state`` is differentiated.

    Returns
    -------
    float
        The worst relative error found.

    Raises
    ------
    AssertionError
        Naming the array, the index and both values of the worst entry.
    TypeError
        If a float input or a parameter is not float64: differences need the digits.

    Examples
    --------
    >>> gradient_check(lambda x: (float((x**2).sum()), (2 * x,)), np.ones(3)) < 1e-7
    True
    """
    scalar, pairs = _scalar_and_gradients(subject, inputs, options, seed)
    worst, report = 0.0, ""
    for name, array, analytic in pairs:
        if array.dtype != np.float64:
            raise TypeError(
                f"gradient_check: expected {name} in float64, got {array.dtype}"
            )
        if np.shape(analytic) != array.shape:
            raise AssertionError(
                f"gradient of {name}: expected shape {shape_text(array.shape)}, "
                f"got {shape_text(np.shape(analytic))}"
            )
        numeric = numerical_gradient(scalar, array, eps)
        scale = np.maximum(1.0, np.maximum(np.abs(analytic), np.abs(numeric)))
        error = np.abs(analytic - numeric) / scale
        error[np.isnan(error)] = np.inf
        index = np.unravel_index(np.argmax(error), error.shape)
        if error[index] >= worst:
            worst = float(error[index])
            where = f"{name}{[int(i) for i in index]}"
            report = (
                f"gradient of {where}: backward gives {analytic[index]:.10g}, "
                f"central differences {numeric[index]:.10g}, "
                f"relative error {worst:.1e} > {tolerance:.1e}"
            )
    if worst > tolerance:
        raise AssertionError(report)
    return worst


def _scalar_and_gradients(subject, inputs, options, seed):
    """The scalar to differentiate, and (name, array, analytic gradient) triples."""
    if not hasattr(subject, "backward"):
        value, grads = subject(*inputs, **options)
        if not isinstance(grads, tuple | list):
            grads = (grads,)
        pairs = [
            (f"input {k}", a, np.array(g))
            for k, (a, g) in enumerate(zip(inputs, grads, strict=True))
            if g is not None
        ]
        return lambda: float(subject(*inputs, **options)[0]), pairs

    rng = np.random.default_rng(seed)

    def parts(result):  # y, then the arrays of the state, in one flat list
        if not isinstance(result, tuple):
            return [result]
        y, state = result
        return [y, *_leaves(state)]

    result = subject(*inputs, **options)
    weights = [rng.standard_normal(p.shape).astype(p.dtype) for p in parts(result)]

    def scalar():
        values = parts(subject(*inputs, **options))
        return float(sum((w * v).sum() for w, v in zip(weights, values, strict=True)))

    if isinstance(result, tuple):
        dstate = _like(result[1], iter(weights[1:]))
        dx = subject.backward(weights[0], dstate)
    else:
        dx = subject.backward(weights[0])
    if isinstance(dx, tuple):  # a layer of several inputs
        named = zip(inputs, dx, strict=True)
        pairs = [(f"input {k}", a, d.copy()) for k, (a, d) in enumerate(named)]
    else:
        pairs = [] if dx is None else [("x", inputs[0], dx.copy())]
    pairs += [(k, p, subject.grads[k].copy()) for k, p in subject.params.items()]
    if options.get("state") is not None:
        arrays = _leaves(options["state"])
        grads = _leaves(subject.dstate)
        pairs += [
            (f"state {k}", a, g.copy())
            for k, (a, g) in enumerate(zip(arrays, grads, strict=True))
        ]
    return scalar, pairs


def _leaves(tree):
    """The arrays of nested tuples and lists, in order; None stands for no array."""
    if not isinstance(tree, tuple | list):
        return [] if tree is None else [tree]
    return [leaf for branch in tree for leaf in _leaves(branch)]


def _like(tree, values):
    """The nested ``tree`` with its arrays replaced by the next ``values``."""
    if not isinstance(tree, tuple | list):
        return None if tree is None else next(values)
    return type(tree)(_like(branch, values) for branch in tree)
