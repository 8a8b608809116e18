"""The equations of the chapter on DNA, each computed from its letters."""

import math

import numpy as np
import pytest
import torch

from experiments.dna import HIDDEN, LEFT, RIGHT, build
from rnnlib.data import splice_junctions
from rnnlib.data.dna import one_hot


def information(p):
    """Bits of one place of a logo, from its shares of A, C, G and T."""
    return 2 + np.nansum(p * np.log2(np.where(p > 0, p, np.nan)), axis=-1)


@pytest.mark.equation("eq-dna-information")
def test_the_information_of_a_place():
    table = np.array([[1, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0], [0.7, 0.1, 0.1, 0.1]])
    by_hand = [2 + sum(p * math.log2(p) for p in row if p) for row in table.tolist()]
    np.testing.assert_allclose(information(table), by_hand, atol=1e-12)
    np.testing.assert_allclose(by_hand[:3], [2, 0, 1], atol=1e-12)
    genes = splice_junctions()
    donors = one_hot([genes.sequences[k] for k in np.flatnonzero(genes.y == 0)])
    bits = information(donors.mean(0, dtype=float))
    assert bits[30:32].min() > 1.8 and bits.argsort()[-2:].min() >= 30


@pytest.mark.equation("eq-dna-junction")
def test_the_states_at_the_junction_are_those_of_the_whole_network():
    """The shortened pass gives what the bidirectional layer has at the two bases."""
    model = build(0).eval()
    x = torch.tensor(one_hot(splice_junctions().sequences[:5]))
    read = []
    model.output.register_forward_pre_hook(lambda layer, inputs: read.append(inputs[0]))
    with torch.no_grad():
        model(x)
        found = torch.relu(model.motifs(x.transpose(1, 2))).transpose(1, 2)
        y, _ = model.gru(torch.cat([x, found], dim=-1))  # (5, 60, 2 H)
    assert y.shape[-1] == 2 * HIDDEN and (LEFT, RIGHT) == (29, 30)
    ahead, back = y[..., :HIDDEN], y[..., HIDDEN:]
    expected = [ahead[:, 29], back[:, 29], ahead[:, 30], back[:, 30]]
    torch.testing.assert_close(read[0], torch.cat(expected, dim=-1))


@pytest.mark.equation("eq-dna-change")
def test_the_evidence_of_one_base():
    """Scores minus the mean of the scores of all four bases at that place."""
    model = build(0).eval()
    sequence = splice_junctions().sequences[0]
    with torch.no_grad():
        for place in (3, 30, 59):
            four = [sequence[:place] + b + sequence[place + 1 :] for b in "ACGT"]
            s = model(torch.tensor(one_hot(four))).numpy()
            own = "ACGT".index(sequence[place])
            whole = model(torch.tensor(one_hot([sequence]))).numpy()[0]
            by_hand = whole - sum(s[k] for k in range(4)) / 4
            np.testing.assert_allclose(s[own] - s.mean(0), by_hand, atol=1e-5)
