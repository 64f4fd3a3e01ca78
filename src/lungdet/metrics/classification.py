"""Epoch metrics of a binary classifier, accumulated on the device: `update` never waits for it, `compute` does once.

Both keep one row per sample until the epoch ends. That makes them exact under distributed training, where shards are
uneven and padded with repeated samples: rows are gathered and repeats dropped by index before anything is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lungdet.metrics.ranking import auroc, average_precision


class RowMetric(Metric):
    """One row per sample: its index and label, and `n_values` numbers.

    Rows with an index >= 0 count once per index; rows without one all count.
    """

    is_differentiable = False
    full_state_update = False
    keys: list[Tensor]
    values: list[Tensor]

    def __init__(self, n_values: int) -> None:
        super().__init__()
        self.n_values = n_values
        self.add_state("keys", default=[], dist_reduce_fx="cat")
        self.add_state("values", default=[], dist_reduce_fx="cat")

    def append(self, label: Tensor, index: Tensor | None, *values: Tensor) -> None:
        """Keep the rows of one batch; all arguments are [B]."""
        index = torch.full_like(label, -1) if index is None else index
        self.keys.append(torch.stack([index.detach().long(), label.detach().long()], dim=1))
        self.values.append(torch.stack([value.detach().float() for value in values], dim=1))

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the rows of all processes; one that had no samples takes part with none of the right type."""
        self._ensure_rows()
        super().sync(*args, **kwargs)

    def rows(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
        """Label bool [N] and values float64 [N, n_values], repeats dropped, in the order of the index."""
        self._ensure_rows()
        keys = dim_zero_cat(self.keys).cpu().numpy()
        values = dim_zero_cat(self.values).cpu().numpy().astype(np.float64)
        unnamed = np.flatnonzero(keys[:, 0] < 0)
        named = np.flatnonzero(keys[:, 0] >= 0)
        _, first = np.unique(keys[named, 0], return_index=True)
        kept = np.concatenate([named[first], unnamed])
        return keys[kept, 1] == 1, values[kept]

    def _ensure_rows(self) -> None:
        if len(self.keys) == 0:  # a list of batches, or one tensor after gathering
            self.keys = [torch.zeros(0, 2, dtype=torch.int64, device=self.device)]
            self.values = [torch.zeros(0, self.n_values, device=self.device)]


class LossAndAccuracy(RowMetric):
    """Mean loss and percent correct, over all samples and per class, as the seed book logs them.

    `compute` gives float32 scalars named `loss`, `loss_<class>`, `percent_correct`, `percent_correct_<class>`. Without
    samples (of a class) they are NaN, and so they are with a NaN among them. A sample is called positive when its logit
    is >= 0, probability >= 0.5.

    Args:
        class_names: names of the negative and the positive class.
    """

    def __init__(self, class_names: Sequence[str] = ("negative", "positive")) -> None:
        super().__init__(n_values=2)
        self.class_names = tuple(class_names)

    def update(self, loss: Tensor, logit: Tensor, label: Tensor, index: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            loss: float [B], not reduced.
            logit: float [B], of the positive class.
            label: int [B], 0 or 1.
            index: int64 [B], names of the samples; a repeated one counts once. None: every row counts.
        """
        self.append(label, index, loss, logit)

    def compute(self) -> dict[str, Tensor]:
        """Name -> float32 scalar."""
        positive, values = self.rows()
        loss, logit = values[:, 0], values[:, 1]
        correct = np.where(np.isnan(logit), np.nan, (logit >= 0) == positive)
        groups = {"": np.ones_like(positive), f"_{self.class_names[0]}": ~positive, f"_{self.class_names[1]}": positive}
        means = {f"loss{suffix}": _mean(loss[rows]) for suffix, rows in groups.items()}
        means |= {f"percent_correct{suffix}": 100 * _mean(correct[rows]) for suffix, rows in groups.items()}
        return {name: torch.tensor(value, device=self.device) for name, value in means.items()}


class BinaryRanking(RowMetric):
    """AUROC, average precision, and precision, recall and F1 at probability 0.5 (logit >= 0).

    `compute` gives float32 scalars `auroc`, `average_precision`, `precision`, `recall`, `f1`. NaN where the question
    has no answer: AUROC without both classes, average precision and recall without positives, precision when nothing
    is called positive. F1 is 2 TP / (2 TP + FP + FN): 0 when there are positives and none is called, NaN only when
    there is neither a positive nor a call. A NaN logit makes everything NaN.
    """

    def __init__(self) -> None:
        super().__init__(n_values=1)

    def update(self, logit: Tensor, label: Tensor, index: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            logit: float [B], of the positive class.
            label: int [B], 0 or 1.
            index: int64 [B], names of the samples; a repeated one counts once. None: every row counts.
        """
        self.append(label, index, logit)

    def compute(self) -> dict[str, Tensor]:
        """Name -> float32 scalar."""
        positive, values = self.rows()
        logit = values[:, 0]
        called = logit >= 0
        hits = int(np.count_nonzero(called & positive))
        n_called, n_positive = int(np.count_nonzero(called)), int(np.count_nonzero(positive))
        result = {
            "precision": _ratio(hits, n_called),
            "recall": _ratio(hits, n_positive),
            "f1": _ratio(2 * hits, n_called + n_positive),
        }
        if np.isnan(logit).any():
            result = dict.fromkeys(("auroc", "average_precision", *result), float("nan"))
        else:
            result |= {"auroc": auroc(positive, logit), "average_precision": average_precision(positive, logit)}
        return {name: torch.tensor(value, device=self.device) for name, value in result.items()}


def _mean(values: npt.NDArray[np.generic]) -> float:
    return float(values.mean()) if values.size else float("nan")


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
