"""Traffic of a small web site second by second, and when something was wrong with it.

The only data set that ships with the package: `experiments/record_traffic.py` recorded
it from a real HTTP server and real clients, and knows when it did harm.
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from rnnlib.data._fetch import DataError

FILE = Path(__file__).with_name("traffic.csv.gz")
SHA256 = "04be88a34f6ccec18075acb50c5098db2da8dc25737f7604916899101a85e0bf"
SITES = {"train": slice(0, 4), "validation": slice(4, 5), "test": slice(5, 8)}


@dataclass(frozen=True)
class Traffic:
    """Recordings of eight sites, made side by side; one row a second.

    Attributes
    ----------
    counters : tuple of K str
        What was counted, see the data card.
    values : ndarray of int64, of shape (8, T, K)
        One recording for each site. Bytes, numbers, and microseconds where it says so.
    fault : ndarray of str, of shape (8, T)
        Name of the fault that was on, "" if none was.
    train, validation, test : slice
        Of the sites: 0 to 3, on which nothing was wrong; 4; 5 to 7.
    """

    counters: tuple
    values: np.ndarray
    fault: np.ndarray
    train: slice
    validation: slice
    test: slice


@lru_cache(maxsize=1)
def network_traffic():
    """Read the recordings.

    Returns
    -------
    Traffic
        Its arrays are read-only.

    Raises
    ------
    DataError
        If the file is missing or damaged.

    Examples
    --------
    >>> network_traffic().values.shape
    (8, 3600, 12)
    """
    try:
        packed = FILE.read_bytes()
    except OSError as error:
        raise DataError(
            f"data set 'network_traffic': cannot read {FILE}: {error}. It belongs to "
            "the package rnnlib; install that again"
        ) from error
    if (found := hashlib.sha256(packed).hexdigest()) != SHA256:
        raise DataError(
            f"data set 'network_traffic': {FILE} is damaged: expected sha256 {SHA256}, "
            f"found {found}. It belongs to the package rnnlib; install that again"
        )
    head, *lines = gzip.decompress(packed).decode().splitlines()
    rows = [line.split(",") for line in lines]
    site = np.array([int(row[0]) for row in rows])
    shape = site.max() + 1, -1
    values = np.array([row[2:-1] for row in rows], np.int64)
    values = values.reshape(*shape, values.shape[1])
    fault = np.array([row[-1] for row in rows]).reshape(shape)
    values.flags.writeable = fault.flags.writeable = False
    return Traffic(tuple(head.split(",")[2:-1]), values, fault, **SITES)
