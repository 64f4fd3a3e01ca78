"""Explains one case after another with one method: tables, curves and a map of those shown, areas of those measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from lungdet.errors import ConfigError
from lungdet.explain.curves import Curve, curve_table, deletion_curves, insertion_curves, removal_orders
from lungdet.explain.fills import Fill
from lungdet.explain.heat_map import positive_share
from lungdet.explain.methods import Attribution, Method
from lungdet.explain.occlusion import Drops, occlude
from lungdet.explain.randomised import rank_correlations
from lungdet.explain.ranking import region_table
from lungdet.explain.regions import Regions, SegmentRegions
from lungdet.explain.scores import Classifier

N_OUTLINED = 5

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class CurveChoice:
    """The keys of `curves`.

    Args:
        n_steps: at how many places between no part and all parts the probability is asked for; None for each part.
        n_random: random orders, the control.
        seed: of these orders; each case has its own.

    Raises:
        ConfigError: no step or no random order.
    """

    n_steps: int | None = 20
    n_random: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.n_steps is not None and self.n_steps < 1) or self.n_random < 1:
            raise ConfigError(
                [f"curves: n_steps={self.n_steps} and n_random={self.n_random} must be at least 1; 20 and 3 are usual"]
            )


@dataclass(frozen=True)
class Case:
    """One image to explain.

    Args:
        row: of the records; with the seed it decides the random orders.
        image: float32 [C, *space], as the network takes it, on the device of the network.
        label: the true class.
        target: bool [*space], where that which makes the class is known to lie; None where nobody knows.
    """

    row: int
    image: Tensor
    label: int
    target: Mask | None = None


@dataclass(frozen=True)
class ShownCase:
    """Everything about a case that has a row of pictures.

    Attributes:
        facts: JSON-ready numbers, see `Study.facts`, and `insertion_<order>`.
        regions: see `region_table`.
        curves: columns change (`deletion` or `insertion`), order, step, share, score.
        heat: float32 [*space], signed.
        segments: int32 [*space], the part each pixel belongs to; all -1 where parts may overlap.
        outlined: bool [<= N_OUTLINED, *space], the most important parts, the first one first.
    """

    facts: dict[str, Any]
    regions: pd.DataFrame
    curves: pd.DataFrame
    heat: npt.NDArray[np.float32]
    segments: npt.NDArray[np.int32]
    outlined: Mask

    def to_parts(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """A record and arrays for `CaseStore.write`."""
        record = {
            "facts": self.facts,
            "regions": self.regions.to_dict("list"),
            "curves": self.curves.to_dict("list"),
        }
        return record, {"heat": self.heat, "segments": self.segments, "outlined": self.outlined}

    @classmethod
    def of_parts(cls, record: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> ShownCase:
        """What `to_parts` gave, back again."""
        return cls(
            facts=record["facts"],
            regions=pd.DataFrame(record["regions"]),
            curves=pd.DataFrame(record["curves"]),
            heat=arrays["heat"],
            segments=arrays["segments"],
            outlined=arrays["outlined"],
        )


@dataclass(frozen=True, kw_only=True)
class Study:
    """One method on one classifier.

    Args:
        method: how images are explained.
        classifier: what is explained.
        fill: the method's fill, resolved.
        curves: how deletion and insertion are followed.
    """

    method: Method
    classifier: Classifier
    fill: Fill
    curves: CurveChoice

    def measure(self, case: Case) -> dict[str, Any]:
        """How faithful the explanation of one case is; see `facts`."""
        regions, attribution = self._attribute(case)
        deletion = self._deletion(case, regions, self._orders(case, attribution))
        return self.facts(case, attribution, deletion)

    def show(self, case: Case) -> ShownCase:
        """Everything about one case."""
        regions, attribution = self._attribute(case)
        orders = self._orders(case, attribution)
        deletion = self._deletion(case, regions, orders)
        insertion = insertion_curves(**self._curve_arguments(case, regions, orders))[0]
        drops = attribution.drops or self._drops(case, regions)
        table = region_table(regions, drops, importance=attribution.importance)
        tables = [
            curve_table([curves]).drop(columns="image").assign(change=change)
            for change, curves in (("deletion", deletion), ("insertion", insertion))
        ]
        best = table["region"].to_numpy()[::-1][:N_OUTLINED]
        agreement = rank_correlations(torch.tensor(attribution.importance)[None], torch.tensor(drops.drop)[None])
        return ShownCase(
            facts=self.facts(case, attribution, deletion)
            | {f"insertion_{name}": area for name, area in _areas(insertion).items()}
            | {"agreement_with_drops": float(agreement[0])},
            regions=table,
            curves=pd.concat(tables, ignore_index=True)[["change", "order", "step", "share", "score"]],
            heat=attribution.pixels.numpy(),
            segments=_segments(regions),
            outlined=np.concatenate([regions.masks(int(n), int(n) + 1).cpu().numpy() for n in best]),
        )

    def facts(self, case: Case, attribution: Attribution, deletion: Mapping[str, Curve]) -> dict[str, Any]:
        """What one case adds to the numbers of a run.

        Returns:
            p_true (as the network says now), n_regions, most_first, least_first and random (areas under the deletion
            curves, the last a mean over the random orders), target_share (of the positive part of the map, on the
            target) and target_area (share of the pixels), both NaN without a target, gap of integrated gradients.
        """
        target = None if case.target is None or not case.target.any() else torch.from_numpy(case.target)
        return {
            "p_true": float(deletion["most_first"].score[0]),
            "n_regions": len(attribution.importance),
            **_areas(deletion),
            "target_share": float("nan") if target is None else positive_share(attribution.density, target),
            "target_area": float("nan") if target is None else float(target.double().mean()),
            "gap": float("nan") if attribution.gap is None else attribution.gap,
        }

    def maps(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Maps of several images by another network: float32 [B, *space], parts and fill being the same.

        Args:
            network: such as a randomised copy, in evaluation mode.
            images: float32 [B, C, *space].
            labels: int64 [B].
        """
        is_own = network is self.classifier.network
        classifier = self.classifier if is_own else self.classifier.of_copy(network)
        regions = [self.method.regions(image) for image in images]
        found = self.method.attribute(classifier, images, classes=labels, regions=regions, fill=self.fill)
        return torch.stack([attribution.pixels for attribution in found])

    def _attribute(self, case: Case) -> tuple[Regions, Attribution]:
        regions = self.method.regions(case.image)
        found = self.method.attribute(
            self.classifier, case.image[None], classes=_classes(case), regions=[regions], fill=self.fill
        )
        return regions, found[0]

    def _drops(self, case: Case, regions: Regions) -> Drops:
        return occlude(
            self.classifier.probability,
            case.image[None],
            classes=_classes(case),
            regions=[regions],
            fill=self.fill,
            batch_size=self.method.batch_size,
            windows=self.classifier.windows,
        )[0]

    def _orders(self, case: Case, attribution: Attribution) -> dict[str, npt.NDArray[np.int64]]:
        generator = np.random.default_rng((self.curves.seed, case.row))
        return removal_orders(attribution.importance, generator=generator, n_random=self.curves.n_random)

    def _deletion(self, case: Case, regions: Regions, orders: Mapping[str, npt.NDArray[np.int64]]) -> dict[str, Curve]:
        return deletion_curves(**self._curve_arguments(case, regions, orders))[0]

    def _curve_arguments(self, case: Case, regions: Regions, orders: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "probability": self.classifier.probability,
            "images": case.image[None],
            "classes": _classes(case),
            "regions": [regions],
            "orders": [orders],
            "fill": self.fill,
            "n_steps": self.curves.n_steps,
            "batch_size": self.method.batch_size,
        }


def _classes(case: Case) -> Tensor:
    return torch.tensor([case.label], dtype=torch.int64, device=case.image.device)


def _areas(curves: Mapping[str, Curve]) -> dict[str, float]:
    random = [curve.area for name, curve in curves.items() if name.startswith("random")]
    return {
        "most_first": curves["most_first"].area,
        "least_first": curves["least_first"].area,
        "random": float(np.mean(random)),
    }


def _segments(regions: Regions) -> npt.NDArray[np.int32]:
    if isinstance(regions, SegmentRegions):
        return regions.labels.cpu().numpy().astype(np.int32)
    return np.full(regions.shape, -1, np.int32)
