"""Transfer learning: take over a trained network's weights but for its head, and freeze modules by their exact name.

The head of a network is its child modules whose name starts with `head` (`head_linear`, `head`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from lungdet.errors import ConfigError, RunError
from lungdet.nets.book_weights import read_model_state
from lungdet.nets.state_file import load_state_file, require_finite_tensors, require_layout

# Lightning's checkpoints hold the whole task; its network is the attribute `net`.
_IN_TASK = "net."


def read_network_weights(path: Path | str) -> dict[str, Tensor]:
    """The weights of a network from a checkpoint of ours or a `.state` file of the seed book; no code is executed.

    Returns:
        Tensor name within the network -> tensor on the CPU; every floating tensor is finite.

    Raises:
        MissingFileError: no such file.
        RunError: neither kind of file, or weights that are not finite.
    """
    content = load_state_file(path)
    if "model_state" in content:
        return read_model_state(path)
    if "state_dict" not in content:
        found = sorted(map(str, content))[:8]
        raise RunError(f"{path} is no checkpoint (no 'state_dict', only {found}); give a run's checkpoints/best.ckpt")
    state = {str(name): tensor for name, tensor in content["state_dict"].items()}
    inside = {name.removeprefix(_IN_TASK): tensor for name, tensor in state.items() if name.startswith(_IN_TASK)}
    return require_finite_tensors(inside, path)


def head_names(net: nn.Module) -> tuple[str, ...]:
    """Names of the child modules that are the head.

    Raises:
        RunError: there is none.
    """
    names = tuple(name for name, _ in net.named_children() if name.startswith("head"))
    if not names:
        children = ", ".join(name for name, _ in net.named_children())
        raise RunError(
            f"{type(net).__name__} has no child module whose name starts with 'head' (it has {children}), so nobody "
            "knows which weights are to be new; rename its last layer"
        )
    return names


def check_all_but_head(net: nn.Module, state: Mapping[str, Tensor], *, path: Path | str) -> dict[str, Tensor]:
    """The weights of `state` that belong outside the head, after checking that they are those of `net`.

    Args:
        net: the network that is to take them over; nothing in it changes.
        state: as `read_network_weights`; its head may have any shape.
        path: where they are from, for messages.

    Raises:
        RunError: names missing or unknown, or a network without a head.
        ShapeError: a tensor of another shape.
    """
    head = head_names(net)
    kept = {name: tensor for name, tensor in state.items() if name.split(".")[0] not in head}
    expected = {name: tensor for name, tensor in net.state_dict().items() if name.split(".")[0] not in head}
    require_layout(kept, expected, path=path, net=f"{type(net).__name__} (without its head)")
    return kept


def load_all_but_head(net: nn.Module, state: Mapping[str, Tensor], *, path: Path | str) -> None:
    """Take over all weights and running statistics but those of the head, in place; errors as `check_all_but_head`."""
    net.load_state_dict(check_all_but_head(net, state, path=path), strict=False)


def find_modules(net: nn.Module, names: Iterable[str], *, key: str) -> list[nn.Module]:
    """The modules of these exact names: `block1` is not `block10`; `backbone.layer1` names one inside another.

    Args:
        net: where to look.
        names: as `net.named_modules` gives them.
        key: config path of the names, for messages.

    Raises:
        ConfigError: names that do not exist, each with the near word or the list of children; the head, or the module
            that holds everything.
    """
    modules = dict(net.named_modules())
    problems = []
    for name in names:
        if name not in modules or not name:
            problems.append(f"{key}: {type(net).__name__} has no module '{name}'{_near(name, list(modules)[1:], net)}")
        elif name.split(".")[0] in head_names(net):
            problems.append(f"{key}: '{name}' is the head, which starts at random and has to be trained; leave it out")
    if problems:
        raise ConfigError(problems)
    return [modules[name] for name in names]


def freeze(modules: Iterable[nn.Module]) -> None:
    """Keep parameters out of training; see `hold_still` for what else would change."""
    for module in modules:
        module.requires_grad_(requires_grad=False)


def hold_still(modules: Iterable[nn.Module]) -> None:
    """Put frozen modules into evaluation mode: batch norm uses its running statistics and leaves them as they are.

    Whoever puts the network into training mode has to call this after it. Without it the statistics drift although no
    weight is trained, as in the seed book.
    """
    for module in modules:
        module.eval()


def _near(name: str, there: Sequence[str], net: nn.Module) -> str:
    near = difflib.get_close_matches(name, there, n=1, cutoff=0.7)
    children = ", ".join(child for child, module in net.named_children() if any(True for _ in module.parameters()))
    return f"; did you mean '{near[0]}'?" if near else f"; it has {children}"
