"""Write the three small inventories that intersphinx reads.

Why it exists: fetching docs.python.org/objects.inv at build time would make the build
depend on the network, and a failed fetch is a warning, which fails a strict build.
Add a row when the API pages name something new, then run

    python web/inventories/write.py
"""

import zlib
from pathlib import Path

EXCEPTIONS = (
    "ArithmeticError AssertionError AttributeError Exception FileExistsError "
    "FileNotFoundError FloatingPointError ImportError IndexError KeyError "
    "KeyboardInterrupt ModuleNotFoundError NotImplementedError OSError "
    "OverflowError RuntimeError StopIteration TypeError UserWarning ValueError"
).split()
BUILTINS = "int float complex bool str bytes list tuple dict set object type".split()
GENERATED = "reference/generated/{}.html#$"


def row(name, role, uri, shown="-"):
    """One line of an inventory: name, domain:role, priority, address, display name."""
    return f"{name} {role} 1 {uri} {shown}\n"


PYTHON = [
    *(row(n, "py:exception", "library/exceptions.html#$") for n in EXCEPTIONS),
    *(row(n, "py:class", "library/stdtypes.html#$") for n in BUILTINS),
    row("None", "py:data", "library/constants.html#$"),
    row("collections.abc.Callable", "py:class", "library/collections.abc.html#$"),
    row("collections.abc.Iterable", "py:class", "library/collections.abc.html#$"),
    row("collections.abc.Iterator", "py:class", "library/collections.abc.html#$"),
    row("collections.abc.Sequence", "py:class", "library/collections.abc.html#$"),
    row("dataclasses.dataclass", "py:function", "library/dataclasses.html#$"),
    row("os.PathLike", "py:class", "library/os.html#$"),
    row("pathlib.Path", "py:class", "library/pathlib.html#$"),
]
NUMPY = [
    row("numpy", "py:module", "reference/index.html#module-$"),
    *(
        row(f"numpy.{n}", "py:class", GENERATED.format(f"numpy.{n}"))
        for n in ("ndarray", "dtype")
    ),
    *(
        row(f"numpy.{n}", "py:function", GENERATED.format(f"numpy.{n}"))
        for n in ("asarray", "einsum", "load", "save", "savez")
    ),
    *(
        row(f"numpy.{n}", "py:data", GENERATED.format(f"numpy.{n}"))
        for n in ("exp", "log", "matmul", "tanh")
    ),
    row("numpy.float32", "py:class", "reference/arrays.scalars.html#$"),
    row("numpy.float64", "py:class", "reference/arrays.scalars.html#$"),
    row("numpy.random.Generator", "py:class", "reference/random/generator.html#$"),
    row("numpy.random.default_rng", "py:function", "reference/random/generator.html#$"),
    row("array_like", "std:term", "glossary.html#term-$"),
]
TORCH = [
    row("torch", "py:module", "torch.html#module-$"),
    row("torch.Tensor", "py:class", "tensors.html#$"),
    row("torch.dtype", "py:class", "tensor_attributes.html#$"),
    row("torch.device", "py:class", "tensor_attributes.html#$"),
    *(
        row(f"torch.nn.{n}", "py:class", f"generated/torch.nn.{n}.html#$")
        for n in ("Module", "RNN", "LSTM", "GRU", "Embedding", "Linear", "Parameter")
    ),
    row("torch.optim.Optimizer", "py:class", "optim.html#$"),
]


def write(name, project, rows):
    """Write one inventory in the version-2 format of Sphinx, byte for byte stable."""
    head = (
        "# Sphinx inventory version 2\n"
        f"# Project: {project}\n"
        "# Version: \n"
        "# The remainder of this file is compressed using zlib.\n"
    )
    body = zlib.compress("".join(rows).encode(), 9)
    Path(__file__).with_name(name).write_bytes(head.encode() + body)


if __name__ == "__main__":
    write("python.inv", "Python", PYTHON)
    write("numpy.inv", "NumPy", NUMPY)
    write("torch.inv", "PyTorch", TORCH)
