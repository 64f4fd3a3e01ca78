"""How a report calls what was scored: candidates that are nodules or not, nodules of two classes under a rule, or
whole images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lungdet.evaluation.audit_results import CT_WORDS, AuditWords


@dataclass(frozen=True)
class LabelRule:
    """How readers' ratings became labels.

    Attributes:
        name: as typed in `data.samples.label_rule`.
        meaning: one sentence without its full stop; empty for a rule that this page does not know.
    """

    name: str
    meaning: str


# The same names as `lungdet.io.lidc.MalignancyRule`, which also computes the labels.
_MEANINGS = {
    "two_readers_4": "a nodule is malignant if at least two readers rated it 4 or 5 of 5, and benign otherwise",
    "median": "a nodule is malignant if the median rating is above 3, benign if it is below 3, and left out at 3",
    "mean": "a nodule is malignant if the mean rating is 3 or more, and benign otherwise",
    "extremes": "a nodule is malignant from a mean rating of 4 on, benign up to 2, and left out in between",
}
# AUROC of the diameter alone on LUNA16's 1,182 rated nodules.
DIAMETER_AUROC_BY_RULE = {"mean": 0.82, "two_readers_4": 0.919, "median": 0.928, "extremes": 0.969}


@dataclass(frozen=True)
class Wording:
    """The words of one kind of classification.

    Attributes:
        classes: class names in label order, as in the data.
        subject: what the run is about, as a title.
        item, items: one row of the table, several of them.
        positive, positives: one of the positive class, several.
        positive_rows: several of the positive class, as rows of the table.
        negative, another_negative, the_negatives: one of the negative class, the same with article, all of them.
        positive_label, negative_label: rows of a confusion table and names in a legend.
        a_positive, are_positives: after "is called" and after "three of ten are".
        found: what a positive above the threshold is: found, or called malignant.
        one_item: what a row is, in full sentences.
        false_positives_title: of the gallery of negatives that score highest.
        rule: how labels came about where readers only gave ratings.
        audit: what the leak audit calls the things that it compares.
        are_images: whether each row is a whole image: it then lies in no scan, has no place and no size.
    """

    classes: tuple[str, str]
    subject: str
    item: str
    items: str
    positive: str
    positives: str
    positive_rows: str
    negative: str
    another_negative: str
    the_negatives: str
    positive_label: str
    negative_label: str
    a_positive: str
    are_positives: str
    found: str
    one_item: str
    false_positives_title: str
    rule: LabelRule | None = None
    audit: AuditWords = CT_WORDS
    are_images: bool = False


CANDIDATES = Wording(
    classes=("non_nodule", "nodule"),
    subject="Candidate classification",
    item="candidate",
    items="candidates",
    positive="nodule",
    positives="nodules",
    positive_rows="nodule candidates",
    negative="other candidate",
    another_negative="another candidate",
    the_negatives="the rest",
    positive_label="nodule",
    negative_label="no nodule",
    a_positive="a nodule",
    are_positives="nodules",
    found="found",
    one_item="A candidate is a place in a scan that an earlier step proposed; its label says whether a nodule is "
    "there. Several candidates may belong to one nodule, so these are sensitivities per candidate, not per nodule.",
    false_positives_title="Highest-scored candidates that are no nodules",
)


def nodules(classes: tuple[str, str], label_rule: str) -> Wording:
    """The words for nodules of two classes, e.g. ("benign", "malignant"), labelled by a rule over readers' ratings.

    Example:
        >>> nodules(("benign", "malignant"), "median").positives
        'malignant nodules'
    """
    negative, positive = classes
    return Wording(
        classes=classes,
        subject=f"{positive.capitalize()} or {negative}",
        item="nodule",
        items="nodules",
        positive=f"{positive} nodule",
        positives=f"{positive} nodules",
        positive_rows=f"{positive} nodules",
        negative=f"{negative} one",
        another_negative=f"a {negative} one",
        the_negatives=f"{negative} ones",
        positive_label=positive,
        negative_label=negative,
        a_positive=positive,
        are_positives=positive,
        found=f"called {positive}",
        one_item=f"Each row is an annotated nodule; that it is {positive} or {negative} is the readers' opinion on the "
        "images, not a diagnosis from tissue.",
        false_positives_title=f"Highest-scored {negative} nodules",
        rule=LabelRule(label_rule, _MEANINGS.get(label_rule, "")),
    )


def images(classes: tuple[str, str], *, item: str, items: str) -> Wording:
    """The words for whole images of two classes, e.g. ("normal", "pneumonia") chest X-rays.

    Args:
        classes: negative and positive, as nouns or adjectives before `item`.
        item: one image.
        items: several.

    Example:
        >>> images(("normal", "tumor"), item="patch", items="patches").positives
        'tumor patches'
    """
    negative, positive = classes
    return Wording(
        classes=classes,
        subject=f"{positive.capitalize()} or {negative}",
        item=item,
        items=items,
        positive=f"{positive} {item}",
        positives=f"{positive} {items}",
        positive_rows=f"{positive} {items}",
        negative=f"{negative} one",
        another_negative=with_article(f"{negative} one"),
        the_negatives=f"{negative} ones",
        positive_label=positive,
        negative_label=negative,
        a_positive=positive,
        are_positives=f"{positive} {items}",
        found=f"called {positive}",
        one_item=f"Each row is a whole {item}; its label, {negative} or {positive}, is the collection's.",
        false_positives_title=f"Highest-scored {negative} {items}",
        audit=AuditWords(one=item, several=items, pixels=items, column=items[:1].upper() + items[1:], are_images=True),
        are_images=True,
    )


def wording_of(provenance: Mapping[str, Any]) -> Wording:
    """The words of a run: of images where it says what they are called, of nodules where labels followed a rule.

    Args:
        provenance: content of provenance.json; empty for a run that left none.
    """
    if "item" in provenance:
        negative, positive = provenance["classes"]
        return images((negative, positive), item=provenance["item"], items=provenance["items"])
    rule = provenance.get("label_rule")
    return CANDIDATES if rule is None else nodules(tuple(provenance["classes"]), rule)


def with_article(text: str) -> str:
    """`a patch`, `an image`, `an X-ray`."""
    return f"{'an' if text[:1].lower() in 'aeiou' or text.startswith('X-') else 'a'} {text}"
