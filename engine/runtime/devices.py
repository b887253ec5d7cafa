"""Which device to compute on, and results back from there."""

import numpy as np
import torch
from torch import Tensor


def pick(device: str | torch.device | None = None) -> torch.device:
    """The device asked for, or the best there is: CUDA, else MPS, else the CPU.

    Raises:
        ValueError: there is no such device here; says which there are.
    """
    found = ["cpu"]
    if torch.backends.mps.is_available():
        found.insert(0, "mps")
    if torch.cuda.is_available():
        found.insert(0, "cuda")
    if device is None or device == "auto":
        return torch.device(found[0])
    try:
        wanted = torch.device(device)
    except RuntimeError:
        wanted = None
    if wanted is None or wanted.type not in found:
        raise ValueError(f"there is no device '{device}' here, only {', '.join(found)}")
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"there is no device '{device}' here: {torch.cuda.device_count()} of kind cuda"
        )
    return wanted


def array(values: Tensor | np.ndarray) -> np.ndarray:
    """Results as numpy, wherever they are; floating point as float32."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.is_floating_point() else values).numpy()
    return values
