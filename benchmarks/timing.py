"""Measure several functions in turn, so that a noisy machine slows all alike."""

import os
import platform
import time

import numpy as np


def stopwatch(f):
    """Seconds that a call takes on the CPU's clock."""
    begin = time.perf_counter()
    f()
    return time.perf_counter() - begin


def in_turn(functions, seconds=1.0, least=5, warm=2, watch=stopwatch):
    """Median seconds of each function, called round and round.

    Parameters
    ----------
    functions : dict of str to callable
    seconds : float, default=1.0
        Total time to spend, roughly.
    least : int, default=5
        Rounds at the least.
    warm : int, default=2
        Calls of each before anything is measured.
    watch : callable, default=stopwatch
        ``watch(f)`` calls f and returns the seconds; another one for another clock.

    Returns
    -------
    dict of str to (float, float)
        Median and half the range between the quartiles, in seconds.
    """
    for f in functions.values():
        for _ in range(warm):
            f()
    times = {name: [] for name in functions}
    begin = time.perf_counter()
    while (
        time.perf_counter() - begin < seconds or len(next(iter(times.values()))) < least
    ):
        for name, f in functions.items():
            times[name].append(watch(f))
    return {name: spread(values) for name, values in times.items()}


def spread(seconds):
    """Median and half the range between the quartiles."""
    low, median, high = np.percentile(seconds, [25, 50, 75])
    return float(median), float(high - low) / 2


def geometric_mean(values):
    """The mean that suits ratios."""
    return float(np.exp(np.mean(np.log(values))))


def machine():
    """What the numbers were measured on."""
    import torch
    from threadpoolctl import threadpool_info

    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            names = [
                line.split(":")[1].strip() for line in lines if "model name" in line
            ]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "blas": sorted(
            {i["architecture"] for i in threadpool_info() if "architecture" in i}
        ),
    }
