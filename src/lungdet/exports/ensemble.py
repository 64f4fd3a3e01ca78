"""The card of an ensemble: one file that holds all its members and averages their logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from lungdet.errors import RunError
from lungdet.exports.card import ImageInputSpec, InputSpec, NetworkCard
from lungdet.exports.from_run import headline
from lungdet.exports.rebuild import average_of

# Facts that are said of each member, also where they are the same.
_OF_A_MEMBER = ("run", "checkpoint", "exported_checkpoint")


def card_of_ensemble(
    cards: Sequence[NetworkCard],
    *,
    name: str,
    calibration: Mapping[str, Any] | None,
    report: Mapping[str, Any],
) -> NetworkCard:
    """Describe the mean of several networks.

    Args:
        cards: of the members, without files.
        name: stem of the files.
        calibration: of the mean, None where there is none.
        report: report.json of the ensemble; empty where it was not evaluated.

    Raises:
        RunError: members of different tasks, inputs or outputs, or the image branch of a network with more.
    """
    first = cards[0]
    for what in ("task", "output"):
        if any(getattr(card, what) != getattr(first, what) for card in cards):
            raise RunError(f"{name}: the members differ in {what}, so there is no mean of them: {_listed(cards, what)}")
    if any("exported_part" in card.training for card in cards):
        raise RunError(f"{name}: members with clinical features leave as their image branch alone; export them singly")
    facts = [card.training for card in cards]
    keys = [key for key in facts[0] if key not in _OF_A_MEMBER]
    shared = {key: facts[0][key] for key in keys if all(other.get(key) == facts[0][key] for other in facts)}
    apart = [{key: value for key, value in each.items() if key not in shared} for each in facts]
    return dataclasses.replace(
        first,
        name=name,
        network=average_of([card.network for card in cards]),
        input=_shared_input(cards, name=name),
        training={**shared, "run": name, "average_of": "logits", "members": apart},
        calibration=None if calibration is None else dict(calibration),
        metrics=headline(report),
    )


def _shared_input(cards: Sequence[NetworkCard], *, name: str) -> InputSpec | ImageInputSpec:
    """What all members take; what they do themselves may differ."""
    inputs = [card.input for card in cards]
    bare = [dataclasses.replace(i, inside=()) if isinstance(i, ImageInputSpec) else i for i in inputs]
    if any(other != bare[0] for other in bare):
        raise RunError(f"{name}: members of different inputs do not fit into one file: {_listed(cards, 'input')}")
    if not isinstance(inputs[0], ImageInputSpec):
        return inputs[0]
    steps = [i.inside for i in inputs if isinstance(i, ImageInputSpec)]
    if len(set(steps)) > 1:
        inside = [f"Network {n}: {step}" for n, each in enumerate(steps, start=1) for step in each]
    else:
        inside = list(steps[0])
    return dataclasses.replace(inputs[0], inside=(f"It averages the logits of {len(cards)} networks.", *inside))


def _listed(cards: Sequence[NetworkCard], what: str) -> str:
    return "; ".join(f"{card.name}: {getattr(card, what)}" for card in cards)
