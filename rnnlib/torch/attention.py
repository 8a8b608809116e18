"""Attention: scores, a softmax over the valid keys, and one product for the mean."""

import math

import torch

from rnnlib import specs
from rnnlib.torch.layers import Layer


class Attention(specs.AttentionSpec, Layer):
    __doc__ = specs.AttentionSpec.__doc__

    def forward(self, query, keys, lengths=None):
        valid = self._check_inputs(query, keys, lengths)
        if valid is not None:
            valid = valid.to(keys.device)
            keys = torch.where(valid[..., None], keys, 0)  # 0 times NaN is NaN
        scores = self._scores(query, keys)  # (B, U, T)
        if valid is not None:
            scores = scores.masked_fill(~valid[:, None], -math.inf)
        weights = torch.softmax(scores, dim=-1)
        return weights @ keys, weights  # (B, U, K), (B, U, T)

    def _scores(self, query, keys):
        if self.kind != "additive":
            return self._scale * query @ keys.transpose(1, 2)
        q, k = query @ self.W_q + self.b, keys @ self.W_k
        return torch.tanh(q[:, :, None] + k[:, None]) @ self.v  # over (B, U, T, A)
