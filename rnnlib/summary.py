"""The parameter table, drawn as Keras draws it.

One look at it answers: which shapes flow, and where do the parameters sit?
"""

import re
import textwrap
from itertools import zip_longest

_WIDTHS = (33, 24, 15)


def summary(model):
    """Text table of a `Sequential`'s layers, output shapes and parameter counts.

    Parameters
    ----------
    model : Sequential
        Of either engine.

    Returns
    -------
    str
        The table that Keras 3 prints for the same model, line by line.
    """
    shape = _input_shape(model.layers[0])
    rows, seen, total = [], {}, 0
    for layer in model.layers:
        shape = layer.output_shape(shape)
        kind = type(layer).__name__
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind).lower()
        seen[name] = seen.get(name, -1) + 1
        if seen[name]:
            name = f"{name}_{seen[name]}"
        count = sum(_product(s) for s in _all_shapes(layer))
        total += count
        shown = f"({', '.join('None' if n is None else f'{n}' for n in shape)})"
        rows.append((f"{name} ({kind})", shown, f"{count:,}"))
    size = sum(array.nbytes for array in model.state_dict().values())
    return _draw(rows, total, size)


def _input_shape(layer):
    """Shape of an input for the first layer, with None for any size."""
    first = layer.directions[0] if hasattr(layer, "directions") else layer
    if hasattr(first, "vocab_size"):
        return (None, None)
    features = getattr(first, "input_size", getattr(first, "size", None))
    return (None, None, features) if layer.has_state else (None, features)


def _all_shapes(layer):
    """Parameter shapes of a layer and, for a bidirectional one, of its two parts."""
    parts = getattr(layer, "directions", (layer,))
    return [shape for part in parts for shape in part.shapes().values()]


def _product(shape):
    result = 1
    for n in shape:
        result *= n
    return result


def _bytes(n):
    """Size with two decimals, as Keras prints it: 656424 -> 641.04 KB."""
    for unit in ("B", "KB", "MB", "GB"):
        if n < 1024 or unit == "GB":
            return f"{n:.2f} {unit}"
        n /= 1024


def _draw(rows, total, size):
    def line(cells, bar):
        a, b, c = (w - 2 for w in _WIDTHS)
        # A cell that is too long goes on below, broken between words.
        columns = [textwrap.wrap(t, w) for t, w in zip(cells, (a, b, c), strict=True)]
        return "\n".join(
            f"{bar} {name:<{a}} {bar} {shape:<{b}} {bar} {count:>{c}} {bar}"
            for name, shape, count in zip_longest(*columns, fillvalue="")
        )

    def rule(left, cross, right, dash):
        return left + cross.join(dash * w for w in _WIDTHS) + right

    body = f"\n{rule('├', '┼', '┤', '─')}\n".join(line(r, "│") for r in rows)
    amount = f"{total:,} ({_bytes(size)})"
    return "\n".join(
        [
            'Model: "sequential"',
            rule("┏", "┳", "┓", "━"),
            line(("Layer (type)", "Output Shape", "Param #"), "┃"),
            rule("┡", "╇", "┩", "━"),
            body,
            rule("└", "┴", "┘", "─"),
            f" Total params: {amount}",
            f" Trainable params: {amount}",
            " Non-trainable params: 0 (0.00 B)",
        ]
    )
