"""Memory that a layer keeps between calls.

The system hands out a large new array page by page, and the first touch of each page
costs time: for a plain RNN a tenth of a training step. A layer whose next call needs
the same arrays again had better keep them.
"""

import math

import numpy as np


def fresh(name, shape, dtype):
    """A new array, for whoever keeps none; ``name`` only serves `Workspace`."""
    return np.empty(shape, dtype)


class Workspace:
    """Called like `fresh`, it returns the memory that had the same name before.

    What the array held is undefined, and it is overwritten at the next call: nothing
    that leaves a layer may lie in it.
    """

    def __init__(self):
        self._flat = {}

    def __call__(self, name, shape, dtype):
        size = math.prod(shape)
        flat = self._flat.get(name)
        if flat is None or flat.size < size or flat.dtype != dtype:
            flat = self._flat[name] = np.empty(size, dtype)
        return flat[:size].reshape(shape)

    def __reduce__(self):  # a copy of a layer gets memory of its own
        return Workspace, ()
