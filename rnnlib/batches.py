"""Cut a data set into batches, the same way on every run.

Two ways of cutting: `Batches` shuffles independent examples; `StreamBatches` lays one
long sequence out in parallel streams, for training that carries its state from one
window to the next.
"""

import numpy as np

from rnnlib.checks import check_ids, check_lengths, check_shape, check_size


class Batches:
    """Shuffled batches of independent examples; one iteration is one epoch.

    Parameters
    ----------
    x : array of shape (N, ...), or tuple of such arrays
        Inputs: ids (N, T), features (N, T, I) and so on; ``(source, target_in)`` for an
        `EncoderDecoder`.
    y : array of shape (N, ...)
        Targets.
    lengths : array of int, of shape (N,), or tuple of such arrays, optional
        Valid steps of each example, in 1..T. Each batch is then cut to its own longest
        example: `x`, and `y` too if its second axis has the same size T. If `x` is a
        tuple, so are the lengths, one array for each; `y` goes with the last.
    batch_size : int
        Examples in a batch; the last batch may have fewer.
    shuffle : bool, default=True
        Draw a new order for each epoch.
    seed : int, default=0
        The order of epoch e is a function of ``(seed, e)`` alone.
    drop_last : bool, default=False
        Leave out a last batch that is not full.
    by_length : bool, default=False
        Put examples of similar length into a batch, which spares padding: sort by the
        length of x, or of its entries from the first to the last, and shuffle equal
        ones and the batches. The longest examples share the batch that is not full.

    Raises
    ------
    TypeError
        If a size or a length is not an integer.
    ValueError
        If the numbers of examples differ, a length is not in 1..T, or no batch is left.

    Examples
    --------
    >>> batches = Batches(np.arange(6).reshape(3, 2), np.array([0, 1, 0]), batch_size=2)
    >>> len(batches)
    2
    >>> [x.shape for x, y in batches]
    [(2, 2), (1, 2)]
    """

    def __init__(
        self,
        x,
        y,
        lengths=None,
        *,
        batch_size,
        shuffle=True,
        seed=0,
        drop_last=False,
        by_length=False,
    ):
        self.x, self.y, self.lengths = _arrays(x), np.asarray(y), None
        xs = self._inputs()
        if not all(a.ndim and self.y.ndim and len(a) == len(self.y) for a in xs):
            raise ValueError(
                f"Batches: expected x and y with the same first axis, "
                f"got {' and '.join(str(a.shape) for a in (*xs, self.y))}"
            )
        if lengths is not None:
            self.lengths = self._checked(lengths)
        self.batch_size = check_size("Batches", "batch_size", batch_size)
        self.seed = check_size("Batches", "seed", seed, least=0)
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.by_length = by_length
        if by_length and lengths is None:
            raise ValueError("Batches: expected lengths to go with by_length=True")
        self._epoch = 0
        if len(self) == 0:
            raise ValueError(
                f"Batches: no batch of {batch_size} in {len(self.y)} examples "
                f"(drop_last={drop_last})"
            )

    def __len__(self):
        """Number of batches in an epoch."""
        full, rest = divmod(len(self.y), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def set_epoch(self, epoch):
        """Make `epoch` the next one; without it each iteration is one epoch further.

        Parameters
        ----------
        epoch : int
            0 or more. A run that resumes sets it, and sees the order it was due.
        """
        self._epoch = check_size("Batches", "epoch", epoch, least=0)

    def __iter__(self):
        """Iterate over ``(x, y)``, or ``(x, y, lengths)`` if there are lengths."""
        order = np.arange(len(self.y))
        rng = np.random.default_rng([self.seed, self._epoch])
        self._epoch += 1
        if self.shuffle:
            order = rng.permutation(order)
        starts = np.arange(0, len(self) * self.batch_size, self.batch_size)
        if self.by_length:
            order = order[: starts[-1] + self.batch_size]  # drop any, not the longest
            every = self.lengths if isinstance(self.lengths, tuple) else [self.lengths]
            order = order[np.lexsort([n[order] for n in reversed(every)])]
            starts = rng.permutation(starts) if self.shuffle else starts
        return (self._batch(order[i : i + self.batch_size]) for i in starts)

    def _inputs(self):
        """The arrays of x as a tuple, also if there is one."""
        return self.x if isinstance(self.x, tuple) else (self.x,)

    def _checked(self, lengths):
        """The lengths of each input, as integer arrays in a tuple if x is one."""
        xs, pair = self._inputs(), isinstance(self.x, tuple)
        if pair and not (isinstance(lengths, tuple) and len(lengths) == len(xs)):
            raise ValueError(
                f"Batches: expected a tuple of lengths, one array for each of the "
                f"{len(xs)} inputs"
            )
        for a in xs:
            if a.ndim < 2:
                raise ValueError(
                    f"Batches: expected x of shape (N, T, ...) to go with lengths, "
                    f"got {a.shape}"
                )
        checked = tuple(
            check_lengths("Batches", n, *a.shape[:2])
            for n, a in zip(lengths if pair else (lengths,), xs, strict=True)
        )
        return checked if pair else checked[0]

    def _batch(self, chosen):
        xs, y = tuple(a[chosen] for a in self._inputs()), self.y[chosen]
        pair = isinstance(self.x, tuple)
        if self.lengths is None:
            return (xs if pair else xs[0]), y
        every = self.lengths if pair else (self.lengths,)
        lengths = tuple(n[chosen] for n in every)
        if y.ndim > 1 and y.shape[1] == xs[-1].shape[1]:  # y has the time axis too
            y = y[:, : lengths[-1].max()]
        xs = tuple(a[:, : n.max()] for a, n in zip(xs, lengths, strict=True))
        return (xs, y, lengths) if pair else (xs[0], y, lengths[0])


def _arrays(x):
    """An array, or a tuple of arrays where a tuple was given."""
    return tuple(map(np.asarray, x)) if isinstance(x, tuple) else np.asarray(x)


class StreamBatches:
    """Consecutive windows of one long sequence, in parallel streams.

    The sequence is cut into `batch_size` contiguous streams of equal length. Window k
    of a stream begins where window k - 1 ended, so the state that a network had at the
    end of one batch is the right initial state for the next. Nothing is shuffled.

    Parameters
    ----------
    ids : array of int, of shape (N,)
        The sequence.
    batch_size : int
        Number of streams B.
    steps : int
        Steps T of a window; the last window of an epoch may be shorter. At most
        ``batch_size - 1`` ids at the very end are never predicted.

    Raises
    ------
    TypeError
        If the ids or a size are not integers.
    ValueError
        If there is more than one axis, or too few ids for one step in every stream.

    Examples
    --------
    >>> for x, y in StreamBatches(np.arange(9), batch_size=2, steps=3):
    ...     print(x.tolist(), y.tolist())
    [[0, 1, 2], [4, 5, 6]] [[1, 2, 3], [5, 6, 7]]
    [[3], [7]] [[4], [8]]
    """

    def __init__(self, ids, *, batch_size, steps):
        ids = np.asarray(ids)
        check_shape("StreamBatches", "ids", ids, ("N",))
        check_ids("StreamBatches", ids, 0, np.inf)
        B = self.batch_size = check_size("StreamBatches", "batch_size", batch_size)
        self.steps = check_size("StreamBatches", "steps", steps)
        L = (len(ids) - 1) // B  # steps in a stream
        if L == 0:
            raise ValueError(
                f"StreamBatches: expected at least {B + 1} ids for {B} streams, "
                f"got {len(ids)}"
            )
        self.x = ids[: B * L].reshape(B, L)  # (B, L)
        self.y = ids[1 : B * L + 1].reshape(B, L)  # (B, L), one step later

    def __len__(self):
        """Number of windows in an epoch."""
        return -(-self.x.shape[1] // self.steps)

    def __iter__(self):
        """Iterate over ``(x (B, T), y (B, T))``; `y` is `x` one step later."""
        starts = range(0, self.x.shape[1], self.steps)
        windows = (slice(start, start + self.steps) for start in starts)
        return ((self.x[:, w], self.y[:, w]) for w in windows)
