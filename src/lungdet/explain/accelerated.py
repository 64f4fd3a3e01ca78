"""A copy of a network that answers faster on the CPU: batch norm folded into convolutions, weights laid out once."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning  # torch.jit offers it without declaring it

from lungdet.errors import ConfigError, RunError

# The program is specialised while it runs for the first times.
_WARM_UP_CALLS = 3
_LARGEST_DIFFERENCE = 1e-4


def accelerated(network: nn.Module, images: Tensor) -> nn.Module:
    """Trace, freeze and optimise a copy of the network, and check that it gives the same answers.

    Making it takes about a second. What it gains depends on the machine: docs/explain.md has what was measured against
    batches of the network itself.

    Args:
        network: in evaluation mode, on the CPU; it is not changed.
        images: float32 [B, C, *space], one batch as large as those to come; other batch sizes work, a little slower.

    Returns:
        A module in evaluation mode from float32 [N, C, *space] to the network's outputs. It has no gradients and no
        layers to look into.

    Raises:
        ConfigError: a network in training mode, or not on the CPU.
        RunError: a network that cannot be traced, or whose copy answers otherwise.
    """
    if network.training or any(weights.device.type != "cpu" for weights in network.parameters()):
        raise ConfigError(
            [f"{type(network).__name__} must be in evaluation mode and on the CPU to be accelerated: .eval().cpu()"]
        )
    copied = copy.deepcopy(network)
    if images.ndim == 4:
        copied, images = copied.to(memory_format=torch.channels_last), _channels_last(images)
    with torch.no_grad(), warnings.catch_warnings():
        # PyTorch prefers torch.compile, which needs a C++ compiler on the user's machine and minutes.
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*deprecated.*")
        warnings.simplefilter("ignore", TracerWarning)
        try:
            traced = torch.jit.trace(copied, (images,), check_trace=False)  # type: ignore[no-untyped-call]
            program = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
            for _ in range(_WARM_UP_CALLS):
                answers = program(images)
        except RuntimeError as error:
            raise RunError(f"{type(network).__name__} cannot be accelerated; use it as it is: {error}") from error
        difference = float((answers - network(images)).abs().max())
    if not difference <= _LARGEST_DIFFERENCE:
        raise RunError(
            f"the accelerated copy of {type(network).__name__} answers otherwise, by up to {difference:.2g}; use the "
            "network as it is"
        )
    return _Program(program).eval()


class _Program(nn.Module):
    def __init__(self, program: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.program = program

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.program(images)
        return outputs


def _channels_last(images: Tensor) -> Tensor:
    # `.to(memory_format=...)` leaves a single channel as it is.
    laid_out = torch.empty(images.shape, dtype=images.dtype, memory_format=torch.channels_last)
    return laid_out.copy_(images)
