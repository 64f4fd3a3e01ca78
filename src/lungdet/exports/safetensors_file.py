"""Weights as safetensors: tensors and nothing else. The network is built from its card and runs as in training."""

from __future__ import annotations

from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor, nn

from lungdet.errors import RunError
from lungdet.exports.card import NetworkCard
from lungdet.exports.rebuild import rebuild
from lungdet.nets.state_file import require_finite_tensors, require_layout


def write(net: nn.Module, card: NetworkCard, path: Path) -> None:
    """Write the state of `net`, parameters and buffers; one that the network holds under several names once."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in distinct_state(net).items()}
    path.write_bytes(safetensors.torch.save(state, metadata={"format": "pt", "network": card.network.target}))


def load(content: bytes, card: NetworkCard, path: Path) -> nn.Module:
    """Build the card's network and give it the weights. What runs: the constructor of a class of `lungdet.nets`.

    Raises:
        RunError: not a safetensors file, weights of another network, NaN or infinite weights.
        ShapeError: a tensor of another shape.
    """
    try:
        state = safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise RunError(f"{path} cannot be read as safetensors: {error}") from error
    net = rebuild(card.network)
    require_finite_tensors(state, path)
    require_layout(state, distinct_state(net), path=path, net=card.network.target)
    # Not strict: further names of a shared tensor are missing, and need not be there.
    net.load_state_dict(state, strict=False)
    return net


def distinct_state(net: nn.Module) -> dict[str, Tensor]:
    """The state with the first name only of tensors that are shared (MONAI's DynUNet keeps each layer twice)."""
    state = net.state_dict()
    names = {name for name, _ in (*net.named_parameters(), *net.named_buffers())}
    return {name: tensor for name, tensor in state.items() if name in names}
