"""Daily prices of 20 large American companies, 1990 to 2022.

Survivors: the twenty are in the S&P 500 *today* and were listed all the time. Anyone
who picks them in 1990 knows the future, which the chapter measures.
"""

import gzip
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rnnlib.data._fetch import DataError, read_members


@dataclass(frozen=True)
class Months:
    """What stocks did in each month, from the last close of the month before.

    Attributes
    ----------
    month : ndarray of datetime64[M], of shape (N,)
        Rising; the first month of the prices is not among them.
    returns : ndarray of float64, of shape (N, M)
        Gain as a share of the price: 0.01 is 1 %.
    volatility : ndarray of float64, of shape (N, M)
        Standard deviation of the daily log returns within the month.
    index : ndarray of float64, of shape (N,)
        Return of the index.
    """

    month: np.ndarray
    returns: np.ndarray
    volatility: np.ndarray
    index: np.ndarray


@dataclass(frozen=True)
class Stocks:
    """Closing prices, adjusted for splits and dividends.

    Attributes
    ----------
    dates : ndarray of datetime64[D], of shape (N,)
        Trading days, rising.
    names : tuple of str
        Ticker symbols of the M companies.
    prices : ndarray of float64, of shape (N, M)
        In US dollars.
    index : ndarray of float64, of shape (N,)
        The S&P 500 index on the same days; its dividends are not in it.
    """

    dates: np.ndarray
    names: tuple
    prices: np.ndarray
    index: np.ndarray

    def monthly(self):
        """Sum the days up to months.

        Returns
        -------
        Months
            The last month ends with the last day that there is.

        Raises
        ------
        ValueError
            If a price is missing or not positive, if the days do not rise, or if there
            are fewer than two months.
        """
        self._check()
        month = self.dates.astype("datetime64[M]")
        last = np.flatnonzero(np.append(month[1:] != month[:-1], True))
        if len(last) < 2:
            raise ValueError(f"Stocks.monthly: expected 2 months, got {len(last)}")
        daily = np.diff(np.log(self.prices), axis=0)
        volatility = [
            daily[a:b].std(axis=0) for a, b in zip(last[:-1], last[1:], strict=True)
        ]
        returns, index = (
            a[last[1:]] / a[last[:-1]] - 1 for a in (self.prices, self.index)
        )
        return Months(month[last[1:]], returns, np.array(volatility), index)

    def _check(self):
        shape = len(self.dates), len(self.names)
        if self.prices.shape != shape or self.index.shape != shape[:1]:
            raise ValueError(
                f"Stocks.monthly: expected prices of shape {shape} and an index of "
                f"shape {shape[:1]}, got {self.prices.shape} and {self.index.shape}"
            )
        if not (np.diff(self.dates) > np.timedelta64(0, "D")).all():
            raise ValueError("Stocks.monthly: expected days that rise")
        columns = np.column_stack([self.prices, self.index])
        if (bad := np.argwhere(~((columns > 0) & (columns < np.inf)))).size:
            day, which = bad[0]
            raise ValueError(
                f"Stocks.monthly: expected prices > 0, got {columns[day, which]} for "
                f"{[*self.names, 'the index'][which]} on {self.dates[day]}"
            )


@lru_cache(maxsize=1)
def stocks():
    """Read the prices.

    Returns
    -------
    Stocks
        Its arrays are read-only. 8,313 trading days, 20 companies.

    Raises
    ------
    DataError
        If the data can neither be read nor fetched, or is damaged.

    Examples
    --------
    >>> stocks().prices.shape  # doctest: +SKIP
    (8313, 20)
    """
    members = read_members(
        "skfolio",
        "skfolio/datasets/data/sp500_*.csv.gz",
        sha256="28eb6e9474f73f990c5564fa45ebc5c9799bae898e2934ea3749c3b42cd3fd0a",
        dataset="stocks",
    )
    tables = {name.rsplit("/", 1)[1]: _table(m) for name, m in members.items()}
    names, dates, prices = tables["sp500_dataset.csv.gz"]
    _, days, index = tables["sp500_index.csv.gz"]
    if not np.array_equal(days, dates):
        raise DataError("data set 'stocks': prices and index have different days")
    index = index[:, 0]
    for column in (dates, prices, index):
        column.flags.writeable = False
    return Stocks(dates, names, prices, index)


def _table(packed):
    """Names of the columns, dates (N,) and numbers (N, M) of a packed CSV file."""
    head, *lines = gzip.decompress(packed).decode().split()
    cells = [line.split(",") for line in lines]
    dates = np.array([row[0] for row in cells], "datetime64[D]")
    numbers = np.array([row[1:] for row in cells], np.float64)
    return tuple(head.split(",")[1:]), dates, numbers
