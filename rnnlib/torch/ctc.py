"""CTC with a gradient of its own: forward-backward, one loop over T for a whole batch.

The recursion is the one of `rnnlib.numpy.ctc`, where it is explained. Autograd through
the loop would keep every step's intermediate results and walk back through T of them.
"""

import torch

from rnnlib.checks import check_floats, check_shape, check_type
from rnnlib.lattice import Lattice, ctc_lattice
from rnnlib.torch.layers import as_tensor


def ctc_loss(logits, y, mask=None, *, blank=0):
    """Mean over sequences of ``-log p(y | x)``, summed over all alignments, in nats.

    This is the mean of what ``torch.nn.functional.ctc_loss(…, reduction="none")``
    gives; its default, ``"mean"``, divides each sequence's loss by the number of its
    labels first. The sums run in float64 whatever the dtype of ``logits``. In `fit` and
    `evaluate` a batch weighs as many steps as its mask counts.

    Parameters
    ----------
    logits : tensor of shape (B, T, V)
        Scores before the softmax, of the V - 1 labels and the blank.
    y : integer tensor of shape (B, S)
        Targets: labels in [0, V) without the blank, each row filled up with -1. A row
        of nothing but -1 is an empty target.
    mask : bool tensor or array of shape (B, T), optional
        True for the steps of each sequence, False for the padding after them.
        Default: all steps count.
    blank : int, default=0
        The class that stands for "no label here".

    Returns
    -------
    tensor
        A scalar, in nats per sequence, however long it is; inf if the logits give a
        target probability 0. Only the first derivative is known.

    Raises
    ------
    TypeError
        If ``logits`` do not hold floats, ``y`` integers and ``mask`` bools.
    ValueError
        For shapes that do not fit, labels out of range, a blank among them, or a
        target that needs more steps than its sequence has: one for each label, and one
        for a blank between two equal neighbours.

    References
    ----------
    Graves, Fernández, Gomez and Schmidhuber, 2006, section 4.
    """
    check_type("ctc_loss", "logits", logits, torch.Tensor, "a torch.Tensor")
    check_type("ctc_loss", "y", y, torch.Tensor, "a torch.Tensor")
    check_shape("ctc_loss", "logits", logits, ("B", "T", "V"))
    check_floats("ctc_loss", "logits", logits)
    lattice = ctc_lattice(tuple(logits.shape), y, mask, blank)
    return _CTC.apply(logits, Lattice(*(as_tensor(a, logits.device) for a in lattice)))


class _CTC(torch.autograd.Function):
    """The loss; its gradient is found on the way and kept for ``backward``."""

    @staticmethod
    def forward(ctx, logits, lattice):
        B, _, V = logits.shape
        steps = lattice.mask[..., None]
        scores = torch.where(steps, logits, 0).double()
        log_probs = scores.log_softmax(dim=-1)
        log_probs = torch.where(steps, log_probs, -torch.inf)

        log_p, occupancy = _forward_backward(log_probs, lattice)
        classes = torch.arange(V, device=logits.device)
        is_class = lattice.label[:B, :, None] == classes  # (B, L, V)
        expected = occupancy @ is_class.double()  # (B, T, V)
        dlogits = (log_probs.exp() - expected) / B
        ctx.save_for_backward(dlogits.to(logits.dtype))
        return -log_p.mean().to(logits.dtype)

    @staticmethod
    def backward(ctx, dloss):
        if torch.is_grad_enabled():  # dlogits would pass for a constant
            raise RuntimeError(
                "ctc_loss: expected create_graph=False, got True: only the first "
                "derivative is known"
            )
        (dlogits,) = ctx.saved_tensors
        return dloss * dlogits, None


def _forward_backward(log_probs, lattice):
    """Both passes for a batch: log p (B,), P(state s at step t | y) (B, T, L)."""
    _, row, step, state, label, exists, skip = lattice
    B, N = len(log_probs), len(row)
    emit = torch.where(exists, log_probs[row, step, label], -torch.inf)  # (T, N, L)

    reach = torch.full_like(emit, -torch.inf)
    reach[0, :, :2] = 0
    before = emit.new_full((N, 2 + emit.shape[2]), -torch.inf)
    stay, move, jump = before[:, 2:], before[:, 1:-1], before[:, :-2]
    barrier = torch.zeros_like(stay).masked_fill(~skip, -torch.inf)
    for t in range(1, len(emit)):
        torch.add(reach[t - 1], emit[t - 1], out=stay)
        ways = torch.logaddexp(stay, move)
        torch.logaddexp(ways, jump + barrier, out=reach[t])

    log_alpha = reach[:, :B] + emit[:, :B]  # (T, B, L)
    log_beta = reach[step[:, B:], B + row[B:], state[B:]]
    joint = log_alpha + log_beta
    log_p = joint[0].logsumexp(dim=-1)
    return log_p, (joint - log_p[:, None]).exp().transpose(0, 1)
