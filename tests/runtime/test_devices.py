"""The device that is picked exists."""

import pytest
import torch

from engine.runtime.devices import pick


def test_devices():
    assert pick("cpu") == torch.device("cpu")
    assert pick().type in ("cpu", "cuda", "mps")
    for bad in ("cuda:99", "gpu", "meta"):
        with pytest.raises(ValueError, match="there is no device"):
            pick(bad)
