"""Random numbers as a pure function of (seed, epoch, sample, counter): no state to share, copy or forget in a worker.

SplitMix64 (G. L. Steele, D. Lea, C. H. Flood, OOPSLA 2014, doi:10.1145/2660193.2660195) hashes a counter; integer
arithmetic only, so NumPy, torch on a CPU and torch on a GPU give the same bits.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

UintArray = npt.NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
_LANES = 4  # 16-bit pieces of one hash, each of which becomes one normal number


def sample_keys(draws: npt.NDArray[np.int64], *, seed: int, epoch: int) -> UintArray:
    """One key per sample, different for every (seed, epoch, draw).

    Args:
        draws: int64 [N], what tells the samples of an epoch apart.
        seed: any integer.
        epoch: number of the epoch.

    Returns:
        uint64 [N].
    """
    key = np.zeros(len(draws), dtype=np.uint64)
    for part in (seed, epoch, draws):
        # Arrays, because NumPy warns when a scalar overflows and wraps silently when an array does.
        key = _mix(key + _GOLDEN_STEP + np.atleast_1d(np.asarray(part, dtype=np.int64)).view(np.uint64))
    return key


def uniforms(keys: UintArray, *, n: int) -> npt.NDArray[np.float64]:
    """Uniform numbers in [0, 1): float64 [N, n], 53 random bits each."""
    counters = np.arange(1, n + 1, dtype=np.uint64) * _GOLDEN_STEP
    bits = _mix(keys[:, None] + counters) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def normal_noise(keys: Tensor, *, n: int) -> Tensor:
    """Standard normal numbers, the same for a key whatever the batch around it and whatever the device.

    Each 16 bits of the hash choose one of 65,536 equally likely normal quantiles (standard deviation 1.000, largest
    value 4.33): a table look-up, because logarithms and cosines differ in the last digit between vector code and its
    remainder loop, that is, with the position in the batch.

    Args:
        keys: int64 [B], one per sample.
        n: numbers per sample.

    Returns:
        float32 [B, n] on the device of `keys`.
    """
    counters = torch.arange(-(-n // _LANES), device=keys.device).mul_(_signed(_GOLDEN))
    bits = keys[:, None] + counters
    bits.bitwise_xor_(_shifted(bits, 30)).mul_(_signed(_FIRST))
    bits.bitwise_xor_(_shifted(bits, 27)).mul_(_signed(_SECOND))
    bits.bitwise_xor_(_shifted(bits, 31))
    rank = bits.view(torch.int16).int().add_(2**15)
    noise = _normal_quantiles(keys.device).index_select(0, rank.flatten())
    return noise.view(len(keys), -1)[:, :n]


_GOLDEN_STEP = np.array([_GOLDEN], dtype=np.uint64)


def _mix(z: UintArray) -> UintArray:
    z = (z ^ (z >> np.uint64(30))) * np.array([_FIRST], dtype=np.uint64)
    z = (z ^ (z >> np.uint64(27))) * np.array([_SECOND], dtype=np.uint64)
    return z ^ (z >> np.uint64(31))


def _shifted(bits: Tensor, by: int) -> Tensor:
    # torch shifts int64 arithmetically; the mask drops the copies of the sign.
    shifted: Tensor = bits >> by
    return shifted.bitwise_and_((1 << (64 - by)) - 1)


def _signed(value: int) -> int:
    return value - (1 << 64)


@cache
def _normal_quantiles(device: torch.device) -> Tensor:
    middles = (torch.arange(2**16, dtype=torch.float64) + 0.5) / 2**16
    quantiles: Tensor = torch.special.ndtri(middles)
    return quantiles.float().to(device)
