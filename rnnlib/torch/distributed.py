"""Training in several processes: each takes its share of the rows of every batch.

`torchrun` starts the processes, which all run the same program. Each wraps its model in
torch's DistributedDataParallel, which adds up the gradients, and its batches in a
`Shard`; `fit` does the rest, and the result is that of one process.
"""

import contextlib
from datetime import timedelta

import numpy as np
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from rnnlib.checks import check_size


@contextlib.contextmanager
def processes(patience=1800):
    """Join the processes that ``torchrun`` started, and leave them at the end.

    Without torchrun there is one process, and nothing to join. The processes talk
    through gloo for what is on the CPU, and through NCCL for what is on CUDA.

    Parameters
    ----------
    patience : float, default=1800
        Seconds that one process waits for another. Who has died is noticed at once;
        this is for who is slow, such as a process that measures while the others wait.

    Yields
    ------
    rank : int
        Of this process, from 0.
    world : int
        Number of processes.

    Notes
    -----
    With ``torchrun --max-restarts`` set ``TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1``: torch
    2.13 otherwise lets processes find the addresses of those that died, now and then
    (https://github.com/pytorch/pytorch/issues/135712).

    Examples
    --------
    >>> with processes() as (rank, world):
    ...     rank, world
    (0, 1)
    """
    if not distributed.is_torchelastic_launched():
        yield 0, 1
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=timedelta(seconds=patience))
    try:
        yield distributed.get_rank(), distributed.get_world_size()
        distributed.barrier()  # the first process keeps the addresses of all: together
    finally:
        distributed.destroy_process_group()


class Shard:
    """One process's rows of each batch: contiguous, as many as the others' or one less.

    Parameters
    ----------
    batches : re-iterable of (x, y) or (x, y, lengths)
        The same in every process, such as `rnnlib.batches.Batches` with one seed. With
        `StreamBatches` a process keeps its streams, so that ``stateful`` works.
    rank, world : int
        Which process this is, of how many.

    Raises
    ------
    TypeError
        If the rank or the number of processes is not an integer.
    ValueError
        If there is no such rank; when iterated, if a batch has fewer rows than there
        are processes.

    Examples
    --------
    >>> x, y = np.arange(5)[:, None], np.arange(5)
    >>> [part.tolist() for part, _ in Shard([(x, y)], 1, 2)]
    [[[3], [4]]]
    """

    def __init__(self, batches, rank, world):
        self.world = check_size("Shard", "world", world)
        self.rank = check_size("Shard", "rank", rank, least=0)
        if rank >= world:
            raise ValueError(f"Shard: expected a rank below {world}, got {rank}")
        self.batches = batches

    def __len__(self):
        """Number of batches in an epoch, which is that of every process."""
        return len(self.batches)

    def set_epoch(self, epoch):
        """Make `epoch` the next one, if the batches care.

        Parameters
        ----------
        epoch : int
        """
        if hasattr(self.batches, "set_epoch"):
            self.batches.set_epoch(epoch)

    def __iter__(self):
        """Iterate over this process's part of each batch."""
        return (tuple(self._part(a) for a in batch) for batch in self.batches)

    def _part(self, array):
        if isinstance(array, tuple):
            return tuple(self._part(a) for a in array)
        B = len(array)
        if self.world > B:
            raise ValueError(
                f"Shard: expected at least one row of a batch for each of "
                f"{self.world} processes, got {B} rows"
            )
        edges = np.ceil(np.linspace(0, B, self.world + 1)).astype(int)
        return array[edges[self.rank] : edges[self.rank + 1]]


def group_of(model):
    """The processes that share a model, or None if it is not shared."""
    return model.process_group if isinstance(model, DistributedDataParallel) else None


def bare(model):
    """The model itself, without DistributedDataParallel around it."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def shared_mean(group, value, weight, device):
    """The mean over all processes, and this one's share of the weight.

    Parameters
    ----------
    group : ProcessGroup
    value : float
        A mean over ``weight`` entries of this process.
    weight : int
    device : torch.device
        Where the processes' tensors are.

    Returns
    -------
    mean : float
    total : int
        All weights together.
    """
    sums = torch.tensor([value * weight, weight], dtype=torch.float64, device=device)
    distributed.all_reduce(sums, group=group)
    return float(sums[0] / sums[1]), int(sums[1])


def gathered(group, tensor, device):
    """A tensor of every process, side by side: (world, ...)."""
    tensor = tensor.to(device)
    found = [torch.empty_like(tensor) for _ in range(distributed.get_world_size(group))]
    distributed.all_gather(found, tensor, group=group)
    return torch.stack(found)
