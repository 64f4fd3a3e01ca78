"""Stored images, a whole batch at a time: uint8 in one contiguous tensor, augmented one by one where training asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lungdet.data.image_augment import ImageAugmentation, sample_seeds
from lungdet.data.sampling import EpochSampler, row_of_draw
from lungdet.store.image_store import ImageStore

# Appearances of a row within one epoch that stay apart from those of the next; nobody shows a row a million times.
_APPEARANCES = 2**20


class RawImageBatch(TypedDict):
    """What workers hand over.

    pixels: uint8 [B, C, H, W].
    label: int64 [B], -1 where nobody knows.
    index: int64 [B], rows of the DataModule's records.
    """

    pixels: Tensor
    label: Tensor
    index: Tensor


class ImageDataset(Dataset[RawImageBatch]):
    """Images of a store in the order of a table.

    Args:
        store: where the pixels are.
        image_ids: text [N], one row each.
        label: int64 [N].
        augment: what happens to each image; None for nothing.
        seed: of the augmentation, which depends on it, the epoch, the row and how often it came before.
    """

    def __init__(
        self,
        store: ImageStore,
        image_ids: npt.ArrayLike,
        *,
        label: npt.NDArray[np.int64],
        augment: ImageAugmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.store, self.label, self.augment, self.seed = store, label, augment, seed
        self.places = store.rows_of(image_ids)

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, draw: int) -> RawImageBatch:
        return self.__getitems__([draw])

    def __getitems__(self, draws: Sequence[int]) -> RawImageBatch:
        """The batch of these draw numbers; DataLoader calls this instead of one `__getitem__` per sample."""
        drawn = np.asarray(draws, dtype=np.int64)
        rows = row_of_draw(drawn, n_records=len(self))
        pixels = torch.from_numpy(self.store.read(self.places[rows])).permute(0, 3, 1, 2).contiguous()
        if self.augment is not None:
            epoch, draw = divmod(drawn, len(self) * _APPEARANCES)
            pixels = self.augment.apply(pixels, sample_seeds(draw, seed=self.seed, epoch=int(epoch[0])))
        return {"pixels": pixels, "label": torch.from_numpy(self.label[rows]), "index": torch.from_numpy(rows)}


class EpochInDraw(EpochSampler):
    """An `EpochSampler` whose draw numbers hold the epoch too: workers augment, and nobody else tells them."""

    def __iter__(self) -> Iterator[int]:
        offset = self.n_records * _APPEARANCES * self.epoch
        return (draw + offset for draw in super().__iter__())
