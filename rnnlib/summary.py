"""The parameter table, drawn as Keras draws it.

One look at it answers: which shapes flow, and where do the parameters sit?
"""

import math
import re
import textwrap
from itertools import zip_longest

from rnnlib.checks import shape_text

_WIDTHS = (33, 24, 15)


def summary(model):
    """Text table of a model's layers, output shapes and parameter counts.

    Parameters
    ----------
    model : Sequential or EncoderDecoder
        Of either engine.

    Returns
    -------
    str
        The table that Keras 3 prints for the same model, line by line.
    """
    rows, seen, total = [], {}, 0
    for layer, shape in model.summary_rows():
        kind = type(layer).__name__
        name = _snake(kind)
        seen[name] = seen.get(name, -1) + 1
        if seen[name]:
            name = f"{name}_{seen[name]}"
        count = sum(map(math.prod, layer.shapes().values()))
        total += count
        rows.append((f"{name} ({kind})", shape_text(shape), f"{count:,}"))
    size = sum(array.nbytes for array in model.state_dict().values())
    return _draw(model.title, rows, total, size)


def _snake(kind):
    """LayerNorm -> layer_norm."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind).lower()


def _bytes(n):
    """Size with two decimals, as Keras prints it: 656424 -> 641.04 KB."""
    for unit in ("B", "KB", "MB", "GB"):
        if n < 1024 or unit == "GB":
            return f"{n:.2f} {unit}"
        n /= 1024


def _draw(title, rows, total, size):
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
            f'Model: "{title}"',
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
