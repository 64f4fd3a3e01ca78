from __future__ import annotations

import torch
from torch import nn

from lungdet.nets.head import Fp32Linear


def test_equals_nn_linear_outside_autocast() -> None:
    torch.manual_seed(0)
    head, plain = Fp32Linear(6, 2), nn.Linear(6, 2)
    plain.load_state_dict(head.state_dict())
    x = torch.randn(5, 6)
    assert torch.equal(head(x), plain(x))


def test_stays_float32_under_autocast_where_nn_linear_loses_bits() -> None:
    torch.manual_seed(0)
    head, plain = Fp32Linear(64, 1), nn.Linear(64, 1)
    plain.load_state_dict(head.state_dict())
    x = torch.randn(5000, 64)
    with torch.autocast("cpu", torch.bfloat16):
        logits, coarse = head(x), plain(x)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, plain(x))
    assert coarse.float().unique().numel() < 0.5 * logits.unique().numel()  # ties that would cost score


def test_takes_a_model_in_bfloat16_and_no_bias() -> None:
    head = Fp32Linear(4, 2, bias=False).to(torch.bfloat16)
    x = torch.randn(3, 4, dtype=torch.bfloat16)
    logits = head(x)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, x.float() @ head.weight.float().T)
