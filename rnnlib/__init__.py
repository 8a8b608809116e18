"""Recurrent networks with every gradient written out and tested.

Two engines share one vocabulary. Change the import line and nothing else::

    from rnnlib import numpy as rl    # forward and BPTT by hand, NumPy only
    from rnnlib import torch as rl    # nn.Modules: autograd, GPU

Importing ``rnnlib`` or ``rnnlib.numpy`` never imports torch.
"""

__version__ = "0.1.0"
