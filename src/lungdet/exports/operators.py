"""The operators that an exported graph may call. Others are refused before anything runs: some read or write files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lungdet.errors import RunError

_NAMES = """
    conv1d conv2d conv3d convolution _convolution conv_transpose2d conv_transpose3d linear matmul mm addmm bmm einsum
    batch_norm native_batch_norm _native_batch_norm_legit_no_training instance_norm group_norm native_group_norm
    layer_norm native_layer_norm
    relu relu_ relu6 hardtanh hardtanh_ leaky_relu leaky_relu_ prelu elu elu_ gelu silu silu_ hardswish hardswish_
    hardsigmoid sigmoid tanh softmax log_softmax softplus clamp clamp_ clamp_min clamp_max dropout dropout_
    feature_dropout alpha_dropout
    max_pool2d max_pool3d avg_pool2d avg_pool3d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool2d
    adaptive_max_pool3d mean sum amax amin max min var std_mean
    add add_ sub sub_ mul mul_ div div_ neg exp log sqrt rsqrt pow square abs sign ceil floor floor_divide remainder
    cat stack split split_with_sizes chunk unbind slice select narrow index_select view view_as reshape flatten
    unflatten squeeze squeeze_ unsqueeze unsqueeze_ transpose permute contiguous clone expand expand_as repeat movedim
    pad constant_pad_nd reflection_pad2d reflection_pad3d replication_pad2d replication_pad3d flip roll rot90
    upsample_nearest2d upsample_nearest3d upsample_bilinear2d _upsample_bilinear2d_aa upsample_trilinear3d interpolate
    pixel_shuffle to _to_copy detach detach_ alias lift_fresh_copy type_as zeros ones zeros_like ones_like empty full
    full_like
    arange scalar_tensor eq ne gt ge lt le where masked_fill scaled_dot_product_attention
    size sym_size sym_numel numel dim _assert_tensor_metadata _assert_scalar sym_constrain_range_for_size __getitem__
"""
ALLOWED = frozenset(_NAMES.split())


def require_known_operators(found: Iterable[str], path: Path) -> None:
    """Refuse a graph that calls an operator which no network of `lungdet.nets` needs.

    Args:
        found: names in PyTorch's own namespace, such as `conv3d`; others with their namespace, such as `image::save`.
        path: the file, for the message.

    Raises:
        RunError: naming the operators.
    """
    unknown = sorted(set(found) - ALLOWED)
    if unknown:
        raise RunError(
            f"{path} calls {', '.join(unknown)}, which is no operator of a network known here; nothing of it was run. "
            "Use a file that `lungdet export` wrote; if it did, report this, and export formats=[safetensors]"
        )
