"""Named arrays in one file, written so that a crash never leaves half a file."""

import os
import tempfile
from pathlib import Path

import numpy as np


def save(path, arrays, metadata=None):
    """Write arrays as a safetensors file, all or nothing.

    Parameters
    ----------
    path : str or Path
        Its folder must exist. An older file is replaced only once the new one is whole.
    arrays : dict of str to array
        NumPy arrays or torch tensors, such as ``model.state_dict()``.
    metadata : dict of str to str, optional

    Raises
    ------
    OSError
        If it cannot be written; the older file, if any, is untouched.
    """
    from safetensors.numpy import save as to_bytes

    path = Path(path)
    plain = {
        k: np.array(v.detach().cpu() if hasattr(v, "detach") else v, order="C")
        for k, v in arrays.items()
    }
    data = to_bytes(plain, metadata=metadata)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def load(path):
    """Read what `save` wrote.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    arrays : dict of str to ndarray
    metadata : dict of str to str

    Raises
    ------
    FileNotFoundError
    ValueError
        If the file is not a whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).exists():
        raise FileNotFoundError(f"checkpoint: no file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}
            return arrays, dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(f"checkpoint: {path} is damaged: {error}") from error
