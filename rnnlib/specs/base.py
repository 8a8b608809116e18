"""What all layers share, and what all layers made of layers share."""

import numpy as np

from rnnlib.checks import FLOATS, check_choice, check_type


class Spec:
    """What all layers share: a text, a dtype, a seed."""

    dtype = "float32"
    has_state = False  # True for layers that carry a state through time
    reads_backwards = False  # True for layers that need the whole sequence

    def __repr__(self):
        sizes = ", ".join(str(getattr(self, name)) for name in self.sizes)
        return f"{type(self).__name__}({sizes})"

    sizes = ()  # the attributes that a reader wants to see in an error message

    def _create(self, seed, dtype):
        self.dtype = check_choice(self, "dtype", dtype, FLOATS)
        self.reset(np.random.default_rng(seed))

    def reset(self, rng):
        """Draw the initial values anew from ``rng``, a `numpy.random.Generator`."""
        self._store(self._initial(rng))

    def shapes(self):
        """Names and shapes of the parameters."""
        return {}

    def input_shape(self):
        """Shape of an input, with None for any size; None if any shape will do."""
        return None

    def output_shape(self, shape):
        """Shape of the output for an input of ``shape``; None stands for any size."""
        return shape


class CompositeSpec(Spec):
    """What layers made of layers share."""

    @property
    def has_state(self):
        """Whether a part carries a state through time."""
        return any(part.has_state for part in self._parts.values())

    @property
    def reads_backwards(self):
        """Whether a part needs the whole sequence."""
        return any(part.reads_backwards for part in self._parts.values())

    def reset(self, rng):
        """Draw all parts' initial values anew, in order, from ``rng``."""
        for part in self._parts.values():
            part.reset(rng)

    def shapes(self):
        """Names and shapes of all parts' parameters."""
        return {
            f"{name}.{key}": shape
            for name, part in self._parts.items()
            for key, shape in part.shapes().items()
        }


def check_pair(owner, name, value, text):
    """Raise unless ``value`` has two entries; messages show them as ``text``."""
    check_type(owner, name, value, tuple | list, f"a pair {text}")
    if len(value) != 2:
        raise ValueError(
            f"{owner}: expected {name} to be a pair {text}, got {len(value)} entries"
        )
