"""Named arrays in one file, written so that a crash never leaves half a file."""

import os
import secrets
from pathlib import Path

import numpy as np


def _safetensors():
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            'checkpoint: needs safetensors; get it with: pip install "rnnlib[train]"'
        ) from error
    return safetensors


def check_folder(path):
    """Check that there is a folder to write a file in, before the work is done.

    Parameters
    ----------
    path : str or Path
        Of the file.

    Raises
    ------
    FileNotFoundError
        If its folder does not exist.
    """
    folder = Path(path).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"checkpoint: expected a folder {folder}, got none")


def save(path, arrays, metadata=None):
    """Write arrays as a safetensors file, all or nothing.

    Parameters
    ----------
    path : str or Path
        Its folder must exist. An older file is replaced only once the new one is whole.
    arrays : dict of str to array
        NumPy arrays or torch tensors of any shape, such as ``model.state_dict()``.
    metadata : dict of str to str, optional

    Raises
    ------
    ImportError
        If safetensors is not installed.
    FileNotFoundError
        If the folder does not exist.
    OSError
        If the file cannot be written; the older one, if any, is untouched.
    """
    library = _safetensors()
    check_folder(path)
    path = Path(path)
    plain = {name: _array(value) for name, value in arrays.items()}
    data = library.numpy.save(plain, metadata=metadata)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(part, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _array(value):
    """A NumPy array in C order, also of a tensor on a GPU."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value, order="C")


def load(path):
    """Read what `save` wrote.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    arrays : dict of str to ndarray
        With the names and shapes that were saved.
    metadata : dict of str to str

    Raises
    ------
    ImportError
        If safetensors is not installed.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a whole safetensors file.
    """
    library = _safetensors()
    if not Path(path).exists():
        raise FileNotFoundError(f"checkpoint: no file {path}")
    try:
        with library.safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}
            return arrays, dict(file.metadata() or {})
    except library.SafetensorError as error:
        raise ValueError(f"checkpoint: {path} is damaged: {error}") from error
