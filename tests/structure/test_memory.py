"""How far back a memory is heard of through layers."""

import torch

import engine
from engine.structure.memory import reaches


def test_reach_grows_by_whole_segments():
    """Against a walk over the pattern itself, and the usual rule where it is exact."""
    for segment, length in ((8, 5), (8, 8), (8, 16), (5, 12), (1, 3)):
        qkv = engine.sources.planted(n=60, heads=2, dim=8, causal=True)
        att = engine.attend(qkv, "transformer_xl", segment=segment, memory=length)
        heard = torch.eye(60, dtype=torch.bool)
        link = att.weights()[0] > 0
        for layer, first in enumerate(reaches(57, segment, length, 6), 1):
            heard = (link.float() @ heard.float()) > 0
            assert int(heard[57].nonzero()[0]) == first
            if length % segment == 0:
                assert first == max(0, 57 // segment * segment - layer * length)
