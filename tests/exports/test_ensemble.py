from __future__ import annotations

import dataclasses

import pytest
from torch import nn

from lungdet.errors import RunError
from lungdet.exports.card import ImageInputSpec, NetworkCard
from lungdet.exports.ensemble import card_of_ensemble

Net = tuple[nn.Module, NetworkCard]


def with_training(card: NetworkCard, **facts: object) -> NetworkCard:
    return dataclasses.replace(card, name=str(facts["run"]), training=facts)


def test_what_is_shared_is_said_once(pictures: Net) -> None:
    one = with_training(pictures[1], run="a", seed=0, split_hash="5p", exported_checkpoint="best")
    two = with_training(pictures[1], run="b", seed=1, split_hash="5p", exported_checkpoint="best")
    report = {"ranking": {"test": {"auroc": {"value": 0.9, "low": 0.8, "high": 1.0}}}}
    card = card_of_ensemble([one, two], name="both", calibration={"formula": "f"}, report=report)
    assert card.training == {
        "split_hash": "5p",
        "run": "both",
        "average_of": "logits",
        "members": [
            {"run": "a", "seed": 0, "exported_checkpoint": "best"},
            {"run": "b", "seed": 1, "exported_checkpoint": "best"},
        ],
    }
    assert card.metrics["test"]["auroc"]["value"] == 0.9
    assert card.calibration == {"formula": "f"}
    assert len(card.network.arguments["members"]) == 2
    assert card.image_input.inside[:2] == (
        "It averages the logits of 2 networks.",
        "It looks at the middle 90% of each side.",
    )


def test_members_may_look_in_different_ways(pictures: Net) -> None:
    spec = pictures[1].image_input
    other = dataclasses.replace(pictures[1], input=dataclasses.replace(spec, inside=("It looks twice.",)))
    inside = card_of_ensemble([pictures[1], other], name="x", calibration=None, report={}).image_input.inside
    assert inside[1] == "Network 1: It looks at the middle 90% of each side."
    assert inside[-1] == "Network 2: It looks twice."


def test_members_that_do_not_go_together(pictures: Net, classifier: Net) -> None:
    def refused(*cards: NetworkCard) -> str:
        with pytest.raises(RunError) as caught:
            card_of_ensemble(cards, name="x", calibration=None, report={})
        return str(caught.value)

    card = pictures[1]
    spec = card.image_input
    assert isinstance(spec, ImageInputSpec)
    padded = dataclasses.replace(spec, preparation={**spec.preparation, "fit": "pad"})
    assert "members of different inputs" in refused(card, dataclasses.replace(card, input=padded))
    assert "the members differ in task" in refused(card, classifier[1])
    pair = dataclasses.replace(card.output, channels=2)
    assert "the members differ in output" in refused(card, dataclasses.replace(card, output=pair))
    branch = with_training(classifier[1], run="c", exported_part="the image branch alone")
    assert "clinical features leave as their image branch alone" in refused(branch, branch)
