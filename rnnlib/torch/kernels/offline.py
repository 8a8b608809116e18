"""What the loops take of a GPU, compiled for one that need not be there.

    TRITON_INTERPRET=0 python -m rnnlib.torch.kernels.offline    # a JSON line a kernel

Triton's interpreter runs kernels on a CPU but forgives what the compiler does not: two
types returned by one function, more shared memory than the chip has. Triton brings the
compiler along, so both can be tested without a GPU.
"""

import json
import re
import subprocess
import sys
import tempfile

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from rnnlib.torch.kernels import LARGEST, PRECISIONS, cells, shared_memory
from rnnlib.torch.kernels.function import shape

VARIANTS = {  # kind: its options
    "RNN": {"ACT": ("tanh", "sigmoid", "relu", "leaky_relu")},
    "LSTM": {},
    "GRU": {"AFTER": (True, False)},
}


def compiled(kernel, capability=90, num_warps=4, num_stages=2, **constants):
    """Compile a kernel for a GPU that need not be there.

    Parameters
    ----------
    kernel : triton.JITFunction
        Of `rnnlib.torch.kernels.cells` or `rnnlib.torch.kernels.scan`.
    capability : int, default=90
        Of the GPU, 90 for an H100.
    num_warps, num_stages : int
        As in a launch.
    **constants
        What the kernel has as ``tl.constexpr``.

    Returns
    -------
    triton.compiler.CompiledKernel

    Raises
    ------
    RuntimeError
        If the kernels were imported for Triton's interpreter.
    """
    if not isinstance(kernel, triton.JITFunction):
        raise RuntimeError("compiled: expected TRITON_INTERPRET=0 from the start")
    types, aligned = {}, {}
    for i, argument in enumerate(kernel.arg_names):
        if argument in constants:
            types[argument] = "constexpr"
        elif argument in ("T", "B", "H", "F"):
            types[argument] = "i32"
        else:
            types[argument] = "*i32" if argument == "lengths" else "*fp32"
            aligned[(i,)] = [["tt.divisibility", 16]]  # torch aligns its arrays
    values = {(kernel.arg_names.index(key),): v for key, v in constants.items()}
    options = {"num_warps": num_warps, "num_stages": num_stages}
    options["enable_fp_fusion"] = True  # Triton 3.9 warns when it has to choose
    return triton.compile(
        ASTSource(kernel, types, values, aligned),
        target=GPUTarget("cuda", capability, 32),
        options=options,
    )


def resources(name, hidden_size, precision, capability=90, **options):
    """Compile a recurrent kernel and read off what a program of it takes.

    Parameters
    ----------
    name : str
        A kernel of `rnnlib.torch.kernels.cells`, such as ``"lstm_forward"``.
    hidden_size : int
    precision : {"ieee", "tf32x3", "tf32", "bf16"}
    capability : int, default=90
        Of the GPU, 90 for an H100.
    **options
        ``ACT`` of an RNN, ``AFTER`` of a GRU; ``num_warps`` and ``num_stages`` in place
        of those of `rnnlib.torch.kernels.function.shape`.

    Returns
    -------
    dict
        ``shared``, bytes of shared memory; ``registers`` of each thread; ``spilled``,
        bytes a thread keeps in slow memory for want of registers; ``threads``.

    Raises
    ------
    RuntimeError
        If the kernels were imported for Triton's interpreter.
    """
    options = shape(hidden_size) | {"PRECISION": precision} | options
    binary = compiled(getattr(cells, name), capability, **options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary.asm["cubin"])
        file.flush()
        tool = triton.knobs.nvidia.cuobjdump.path
        text = subprocess.run(
            [tool, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", text)
    return {
        "shared": binary.metadata.shared,
        "registers": int(found[1]),
        "spilled": int(found[2]),
        "threads": 32 * options["num_warps"],
    }


def variants():
    """Every kernel with its options, as pairs (name, dict)."""
    for kind, choices in VARIANTS.items():
        for way in ("forward", "backward"):
            name = f"{kind.lower()}_{way}"
            for key, values in (choices or {None: (None,)}).items():
                for value in values:
                    yield name, {} if key is None else {key: value}


def main(arguments):
    """Print a JSON line for each kernel and precision (all, or those named)."""
    for precision in arguments or PRECISIONS:
        H = LARGEST[precision]
        for name, options in variants():
            row = {"kernel": name, **options, "precision": precision, "H": H}
            row |= resources(name, H, precision, **options)
            row["bound"] = shared_memory(H, precision)
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
