"""Work on several threads: in order, and in the caller's modes."""

from functools import partial

import pytest
import torch

from engine.runtime.threads import in_order


def modes() -> tuple[bool, bool]:
    return torch.is_inference_mode_enabled(), torch.is_grad_enabled()


def test_results_come_in_order():
    jobs = (partial(pow, i, 2) for i in range(50))
    assert list(in_order(jobs, 3)) == [i * i for i in range(50)]


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_run_in_the_callers_modes(workers):
    """Writing into a tensor made under inference_mode is an error outside of it."""
    for mode in (torch.inference_mode, torch.no_grad, torch.enable_grad):
        with mode():
            out, expected = torch.zeros(4), modes()

            def write(i, out=out):
                out[i] = 1
                return modes()

            assert set(in_order((partial(write, i) for i in range(4)), workers)) == {expected}
            assert bool((out == 1).all())
