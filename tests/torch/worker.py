"""What each process of test_distributed runs: python worker.py JOB FOLDER.

Started by torchrun it trains together with the others, else alone, on the same batches.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from rnnlib import checkpoint
from rnnlib import torch as rl
from rnnlib.batches import Batches, StreamBatches
from rnnlib.torch.distributed import Shard, processes


def batches_of(job):
    rng = np.random.default_rng(0)
    if job == "stateful":
        return StreamBatches(rng.integers(0, 11, 601), batch_size=5, steps=6)
    x, lengths = rng.integers(0, 11, (35, 9)), rng.integers(1, 10, 35)
    return Batches(x, (x + 1) % 11, lengths, batch_size=7)  # 4 rows and 3


class Murder:
    """Batches during which one process dies, once."""

    def __init__(self, batches, rank, flag):
        self.batches, self.rank, self.flag, self.epoch = batches, rank, flag, 0

    def set_epoch(self, epoch):
        self.epoch = epoch
        self.batches.set_epoch(epoch)

    def __iter__(self):
        for k, batch in enumerate(self.batches):
            if (self.epoch, k, self.rank) == (2, 3, 1) and not self.flag.exists():
                self.flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch


def main(job, folder):
    torch.set_num_threads(1)
    with processes() as (rank, world):
        p = 0.3 if job in ("plain", "killed") else 0.0  # dropout: other in each process
        model = rl.Sequential(
            rl.Embedding(11, 8),
            rl.LSTM(8, 12),
            rl.Dropout(p),
            rl.Dense(12, 11),
            seed=3,
        )
        model.double()  # so that what is left is not rounding
        torch.manual_seed(100 + rank)
        shared = DistributedDataParallel(model) if world > 1 else model
        batches = batches_of(job)
        if world > 1:
            batches = Shard(batches, rank, world)
        if job == "killed":
            batches = Murder(batches, rank, folder / "died")
        history = rl.fit(
            shared,
            batches,
            loss=rl.cross_entropy,
            optimizer=rl.Adam(model, lr=1e-2),
            epochs=4 if job != "stateful" else 1,
            clip=0.5,
            stateful=job == "stateful",
            progress=False,
            validate=batches_of(job) if job != "stateful" else None,
            checkpoint=folder / f"{job}{world}.safetensors",
            resume=job == "killed" or job.startswith("resume"),
        )
        if rank == 0:
            arrays = model.state_dict() | {
                "history.step_loss": np.array(history.step_loss),
                "history.grad_norm": np.array(history.grad_norm),
                "history.val_loss": np.array(history.val_loss),
            }
            checkpoint.save(folder / f"{job}-of-{world}.safetensors", arrays)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
