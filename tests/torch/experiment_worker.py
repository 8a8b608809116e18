"""What test_distributed runs with torchrun: experiment_worker.py FOLDER.

The experiment text_generation as it is started, on the data of its smoke run, without
what makes two processes differ from one: dropout, and rounding to bfloat16. Without
the slow start either, so that nine steps go somewhere.
"""

import contextlib
import sys
from pathlib import Path

from experiments import _run, text_generation


def simplify(replace):
    """Make the experiment one that does the same in any number of processes."""
    replace(text_generation, "INSIDE", 0.0)
    replace(text_generation, "ABOVE", 0.0)
    replace(_run, "mixed", contextlib.nullcontext)
    replace(_run, "falling", lambda optimizer, **_: optimizer)


def main(folder):
    for part in ("RESULTS", "WEIGHTS", "RUNNING"):
        setattr(_run, part, folder / part)
    simplify(setattr)

    def train(seed, running, smoke):
        return text_generation.train(seed, running, True)

    sys.argv = ["experiment_worker.py", "--seeds", "0", "1"]
    report = text_generation.report
    _run.main(text_generation.NAME, "A test.", train, report, together=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
