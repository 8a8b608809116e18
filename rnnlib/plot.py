"""The book's figures: one style, one palette, and the drawings that recur.

Figures are opaque white: the light page tints them, the dark page shows them as a card.
The colours of `PALETTE` stay apart under the three kinds of colour blindness; `HEAT`
runs from blue (negative) over white (zero) to orange (positive).
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

INK, SOFT, RULE = "#24292f", "#4b5563", "#e3e5e8"
BLUE, ORANGE, GREEN = "#2f6fb5", "#c8550b", "#2b9a66"
PALETTE = (BLUE, ORANGE, GREEN, "#c08b00", "#2f9fd0", "#e0709f", "#6e6e6e")
HEAT = LinearSegmentedColormap.from_list("heat", [BLUE, "#ffffff", ORANGE])


def use_style():
    """Set matplotlib's defaults to the book's style, for the rest of the session."""
    plt.rcParams.update(
        {
            "figure.figsize": (6.4, 3.0),
            "figure.dpi": 150,
            "savefig.dpi": 150,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "savefig.bbox": "tight",
            "font.size": 10,
            "axes.titlesize": 10.5,
            "axes.titlelocation": "left",
            "axes.labelcolor": INK,
            "axes.edgecolor": "#6b7280",
            "axes.linewidth": 0.8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": plt.cycler(color=PALETTE),
            "axes.grid": True,
            "grid.color": RULE,
            "grid.linewidth": 0.6,
            "axes.axisbelow": True,
            "text.color": INK,
            "xtick.color": SOFT,
            "ytick.color": SOFT,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "figure.constrained_layout.use": True,
        }
    )


def text_heatmap(values, text, ax=None, label="value"):
    """Draw one row per unit over the characters (or words) of a text.

    Parameters
    ----------
    values : ndarray of shape (T, units)
        What each unit does at each of the T characters; the colours span ± the largest.
    text : sequence of T str
    ax : matplotlib Axes, optional
    label : str, default="value"
        Of the colour bar.

    Returns
    -------
    matplotlib Axes
    """
    if len(values) != len(text):
        raise ValueError(
            f"text_heatmap: expected one row of values per character, "
            f"got {len(values)} rows for {len(text)} characters"
        )
    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 0.7 + 0.1 * values.shape[1]))
    top = np.abs(values).max()
    image = ax.imshow(
        values.T, cmap=HEAT, vmin=-top, vmax=top, aspect="auto", interpolation="nearest"
    )
    ax.set_xticks(range(len(text)), [c if c.strip() else "␣" for c in text])
    ax.tick_params(axis="x", length=0, labelsize=8, labelcolor=INK)
    ax.grid(False)
    ax.set_ylabel("hidden unit")
    ax.figure.colorbar(image, ax=ax, label=label, pad=0.01, fraction=0.04, aspect=40)
    return ax


def box(ax, x, y, text, color=BLUE, width=0.8, height=0.5, fontsize=10):
    """A rounded box with a text, centred on (x, y); returns the centre."""
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=_tint(color),
            edgecolor=color,
            linewidth=1.3,
        )
    )
    ax.text(x, y, text, ha="center", va="center", fontsize=fontsize, color=INK)
    return x, y


def arrow(ax, start, end, text="", color=SOFT, curve=0.0, offset=(0.0, 0.0)):
    """An arrow from one point to another, with a text beside its middle."""
    ax.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=10,
            linewidth=1.3,
            color=color,
            shrinkA=0,
            shrinkB=0,
            connectionstyle=f"arc3,rad={curve}",
        )
    )
    if text:
        x, y = (np.add(start, end) / 2 + offset).tolist()
        ax.text(x, y, text, ha="center", va="center", fontsize=8.5, color=color)


def canvas(width, height, figsize=None):
    """An empty drawing area of ``width`` by ``height`` units without axes."""
    _, ax = plt.subplots(figsize=figsize or (0.75 * width, 0.75 * height))
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    ax.axis("off")
    return ax


def draw_unrolled(inputs, outputs):
    """A recurrent network twice: as a loop, and unrolled over its steps.

    Parameters
    ----------
    inputs, outputs : sequences of T str
        What to write at each step's input and output.

    Returns
    -------
    matplotlib Axes
    """
    T = len(inputs)
    width = 3.7 + 1.9 * T
    ax = canvas(width, 4.2, figsize=(6.4, 6.4 * 4.2 / width))
    # Folded: one cell whose state returns to itself.
    box(ax, 1.2, 0.6, "$x_t$", GREEN)
    box(ax, 1.2, 2.1, "cell", BLUE, 1.0, 0.7)
    box(ax, 1.2, 3.6, "$y_t$", ORANGE)
    arrow(ax, (1.2, 0.85), (1.2, 1.75))
    arrow(ax, (1.2, 2.45), (1.2, 3.35))
    ax.plot(
        [1.7, 2.15, 2.15, 0.25, 0.25], [2.1, 2.1, 1.3, 1.3, 2.1], color=BLUE, lw=1.3
    )
    arrow(ax, (0.25, 2.1), (0.7, 2.1), color=BLUE)
    ax.text(2.3, 1.7, "$h$", color=BLUE, fontsize=10)
    ax.text(2.75, 2.1, "=", fontsize=15, color=SOFT, ha="center", va="center")
    # Unrolled: the same cell at every step.
    left = 3.2
    ax.text(left, 2.1, "$h_0$", color=BLUE, fontsize=10, ha="center", va="center")
    for t in range(T):
        x = 4.5 + 1.9 * t
        box(ax, x, 0.6, f"$x_{t + 1}$ = {inputs[t]}", GREEN, 1.35)
        box(ax, x, 2.1, "cell", BLUE, 1.0, 0.7)
        box(ax, x, 3.6, f"$y_{t + 1}$ = {outputs[t]}", ORANGE, 1.35)
        arrow(ax, (x, 0.85), (x, 1.75))
        arrow(ax, (x, 2.45), (x, 3.35))
        begin = left + 0.25 if t == 0 else x - 1.4
        arrow(ax, (begin, 2.1), (x - 0.5, 2.1), color=BLUE)
        if t:
            ax.text(x - 0.95, 2.3, f"$h_{t}$", color=BLUE, fontsize=10, ha="center")
    return ax


def _tint(color, share=0.12):
    """The colour mixed with white."""
    r, g, b = (int(color[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return tuple(1 - share * (1 - c) for c in (r, g, b))


def draw_many_to_one(inputs, output):
    """Embedding, LSTM and Dense over a sequence: many inputs, one output.

    Parameters
    ----------
    inputs : sequence of T str
        What is read at each step.
    output : str
        What comes out after the last step.

    Returns
    -------
    matplotlib Axes
    """
    T = len(inputs)
    width = 2.1 * T + 2.6
    ax = canvas(width, 6.0, figsize=(6.4, 6.4 * 6.0 / width))
    for y, name in ((0.6, "ids"), (1.9, "Embedding"), (3.3, "LSTM"), (5.4, "Dense")):
        ax.text(0.1, y, name, color=SOFT, ha="left", va="center", fontsize=9.5)
    for t, word in enumerate(inputs):
        x = 3.1 + 2.1 * t
        box(ax, x, 0.6, word, GREEN, 1.5)
        box(ax, x, 1.9, f"$e_{t + 1}$", PALETTE[3], 1.0)
        box(ax, x, 3.3, "cell", BLUE, 1.1, 0.7)
        arrow(ax, (x, 0.85), (x, 1.65))
        arrow(ax, (x, 2.15), (x, 2.95))
        if t:
            text = f"$h_{t}, c_{t}$"
            arrow(ax, (x - 1.55, 3.3), (x - 0.55, 3.3), text, BLUE, offset=(0, 0.3))
    arrow(ax, (x, 3.65), (x, 5.15), f"$h_{T}$", BLUE, offset=(0.35, 0))
    box(ax, x, 5.4, output, ORANGE, 2.0)
    return ax


def draw_steps(
    inputs, outputs, *, rows=("input", "cell", "output"), cells=None, feedback=()
):
    """Unrolled steps with any pattern of inputs and outputs.

    Parameters
    ----------
    inputs, outputs : sequences of T str or None
        What to write at each step; None leaves the place empty.
    rows : sequence of 3 str, default=("input", "cell", "output")
        What to write at the left of each row, such as the layer and its shape.
    cells : sequence of T str, default="cell" at every step
        Steps of another name than the first are drawn in another colour.
    feedback : sequence of int, optional
        Steps (from 0) whose input is the output of the step before.

    Returns
    -------
    matplotlib Axes
    """
    T = len(inputs)
    cells = cells or ["cell"] * T
    if not len(outputs) == len(cells) == T:
        raise ValueError(
            f"draw_steps: expected as many outputs and cells as inputs, got {T} "
            f"inputs, {len(outputs)} outputs and {len(cells)} cells"
        )
    width = 3.9 + 1.7 * T
    scale = min(0.46, 6.4 / width)  # inches a unit: few steps make a small drawing
    ax = canvas(width, 4.2, figsize=(scale * width, scale * 4.2))
    for y, name in zip((0.6, 2.1, 3.6), rows, strict=True):
        ax.text(0.1, y, name, color=SOFT, ha="left", va="center", fontsize=9)
    for t, (below, above) in enumerate(zip(inputs, outputs, strict=True)):
        x = 4.6 + 1.7 * t
        color = BLUE if cells[t] == cells[0] else PALETTE[3]
        box(ax, x, 2.1, cells[t], color, 1.0, 0.7, fontsize=9)
        if below is not None:
            box(ax, x, 0.6, below, GREEN, 1.1, fontsize=9)
            arrow(ax, (x, 0.85), (x, 1.75))
        if above is not None:
            box(ax, x, 3.6, above, ORANGE, 1.1, fontsize=9)
            arrow(ax, (x, 2.45), (x, 3.35))
        if t:
            arrow(ax, (x - 1.2, 2.1), (x - 0.5, 2.1), color=BLUE)
        if t in feedback:
            arrow(ax, (x - 1.15, 3.6), (x - 0.55, 0.6), color=ORANGE)
    return ax
