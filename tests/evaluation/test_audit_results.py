"""The verdict of an audit in words."""

from __future__ import annotations

from lungdet.evaluation.audit_results import (
    Audit,
    AuditWords,
    Choice,
    EqualPixels,
    NamedScan,
    leaks_of,
    listed,
    partition_word,
)

PAIR = EqualPixels("f0", (NamedScan("1", "A", "train"), NamedScan("2", "B", "test")), crosses_in=(0,))
TWINS = EqualPixels("f1", (NamedScan("3", "C", "val"), NamedScan("4", "D", "val")), crosses_in=())


def test_no_leak_says_what_was_compared() -> None:
    clean = Audit((0,), (), (), looked_at="scans", scans_hashed=1234)
    assert clean.verdict == (
        "No leak found: no patient and no series is in two partitions, and no two of 1,234 scans in different "
        "partitions have the same pixels."
    )
    assert clean.disjoint
    assert list(leaks_of(clean)) == []


def test_every_leak_is_named() -> None:
    audit = Audit(
        (0,),
        ("A",),
        ("1",),
        shared_in={"A": ("train", "test"), "1": ("train", "test")},
        equal_pixels=(PAIR, TWINS),
        choices=(Choice("Checkpoint", "test"), Choice("Thresholds", "val")),
        seen_before=("B",),
    )
    assert [code for code, _ in leaks_of(audit)] == ["leak", "leak_pixels", "leak_choice"]
    assert audit.verdict == (
        "LEAK: 1 patient (A) in training and test of the same fold; the same pixels in different partitions: series 1 "
        "of patient A (training) and series 2 of patient B (test); checkpoint chosen on test; 1 patient (B) of "
        "validation or test trained the network that this one started from."
    )


def test_a_series_under_two_patients_is_a_leak_without_a_shared_patient() -> None:
    audit = Audit((0,), (), ("9",), shared_in={"9": ("val", "test")})
    assert list(leaks_of(audit)) == [("leak", "1 series (9) in validation and test of the same fold")]


def test_equal_pixels_within_a_partition_are_no_leak() -> None:
    assert Audit((0,), (), (), equal_pixels=(TWINS,)).disjoint
    assert not Audit((0,), (), (), equal_pixels=(TWINS, PAIR)).disjoint


def test_many_groups_are_counted() -> None:
    audit = Audit((0,), (), (), equal_pixels=(PAIR,) * 7)
    assert audit.verdict.endswith("(test); and 2 more groups.")
    assert audit.verdict.count("series 1 of") == 5


def test_words() -> None:
    assert listed(["a"], "patch", "patches") == "1 patch (a)"
    assert listed(list("abcdefg"), "patch", "patches") == "7 patches (a, b, c, d, e and 2 more)"
    assert (partition_word("val"), partition_word("unknown")) == ("validation", "unknown")


PATCHES = AuditWords("patch", "patches", pixels="patches", column="Patches", are_images=True)


def test_images_are_called_what_they_are() -> None:
    clean = Audit((0,), (), (), looked_at="scans", scans_hashed=2000, words=PATCHES)
    assert clean.verdict == (
        "No leak found: no patient and no patch is in two partitions, and no two of 2,000 patches in different "
        "partitions have the same pixels."
    )
    shared = Audit((0,), (), ("a", "b"), shared_in={"a": ("val", "test"), "b": ("val", "test")}, words=PATCHES)
    assert list(leaks_of(shared)) == [("leak", "2 patches (a, b) in validation and test of the same fold")]


def test_patients_that_nobody_knows_are_not_said_to_be_apart() -> None:
    for looked_at in ("scans", "split", "table"):
        verdict = Audit((0,), (), (), looked_at=looked_at, words=PATCHES, patients_known=False).verdict
        assert "no patient" not in verdict
        assert "no patch is in" in verdict
        assert verdict.endswith("Nobody knows which patches are of one patient or slide.")
    alone = EqualPixels("f0", (NamedScan("1", "1", "train"), NamedScan("2", "B", "test")), crosses_in=(0,))
    assert alone.named(PATCHES) == "patch 1 (training) and patch 2 of patient B (test)"
