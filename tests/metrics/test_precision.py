"""Metrics compute in full float32 and leave the caller's choice as it was."""

import torch

from pgbench.metrics.precision import full_float32


def tf32() -> tuple[bool, bool]:
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


def test_tf32_is_off_inside_alone() -> None:
    before = tf32()
    try:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        with full_float32():
            assert tf32() == (False, False)
        assert tf32() == (True, True)
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
