"""A linear recurrence in one launch: ``h_t = a_t h_{t-1} + b_t``.

A program takes one row and some channels. It reads a stretch of steps at a time, joins
the steps in it in a tree (`associative_scan`), and carries one state on to the next
stretch: log2(stretch) operations follow one another instead of stretch.
"""

import torch
import triton
import triton.language as tl

STEPS, CHANNELS = 64, 32


@triton.jit
def _join(a1, b1, a2, b2):
    """Two stretches as one: first ``a1 h + b1``, then ``a2 h + b2``."""
    return a1 * a2, a2 * b1 + b2


@triton.jit(do_not_specialize=["T"])
def _scan(
    a, b, h0, hs, T, F,
    STEPS: tl.constexpr, CHANNELS: tl.constexpr, BACK: tl.constexpr,
):  # fmt: skip
    """hs (B, T, F) from a, b (B, T, F) and h0 (B, F).

    BACK runs from the last step to the first with the factor of the step after:
    ``g_t = a_{t+1} g_{t+1} + b_t``, which is the gradient of ``b``.
    """
    row = tl.program_id(0)
    f = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    k = tl.arange(0, STEPS)[:, None]
    carry = tl.load(h0 + row * F + f, mask=f < F, other=0.0)
    for start in range(0, T, STEPS):
        step = start + k
        inside = (step < T) & (f < F)
        t = T - 1 - step if BACK else step
        at = (row * T + t).to(tl.int64) * F + f
        if BACK:
            factor = tl.load(a + at + F, mask=inside & (step > 0), other=0.0)
        else:
            factor = tl.load(a + at, mask=inside, other=1.0)
        addend = tl.load(b + at, mask=inside, other=0.0)
        factor, local = tl.associative_scan((factor, addend), 0, _join)
        h = local + factor * carry
        tl.store(hs + at, h, mask=inside)
        carry = tl.sum(tl.where(k == STEPS - 1, h, 0.0), axis=0)[None, :]


def scan(a, b, h0, back=False):
    """Run the recurrence, or with ``back`` the one of its gradient, without autograd.

    Parameters
    ----------
    a, b : tensors of shape (B, T, …)
    h0 : tensor of shape (B, …)
    back : bool, default=False
        From the last step to the first, ``g_t = a_{t+1} g_{t+1} + b_t``.

    Returns
    -------
    tensor of shape (B, T, …)
    """
    B, T = a.shape[:2]
    a, b, h0 = (x.contiguous() for x in (a, b, h0))
    F = a[0, 0].numel()
    hs = torch.empty_like(b)
    grid = (B, triton.cdiv(F, CHANNELS))
    _scan[grid](a, b, h0, hs, T, F, STEPS=STEPS, CHANNELS=CHANNELS, BACK=back)
    return hs
