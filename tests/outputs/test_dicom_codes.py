"""Codes fit the value representations of DICOM, and those of the standard are those of its own tables."""

from __future__ import annotations

import pytest
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from lungdet.outputs import dicom_codes

OURS = {name: value for name, value in vars(dicom_codes).items() if isinstance(value, Code)}


def test_codes_fit_their_fields() -> None:
    """PS3.5: Code Value and Coding Scheme Designator at most 16 characters, Code Meaning at most 64."""
    assert OURS
    for name, code in OURS.items():
        assert 1 <= len(code.value) <= 16, name
        assert 1 <= len(code.scheme_designator) <= 16, name
        assert 1 <= len(code.meaning) <= 64, name
    assert len({(code.scheme_designator, code.value) for code in OURS.values()}) == len(OURS)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("NODULE", codes.SCT.Nodule),
        ("ABNORMAL_STRUCTURE", codes.SCT.MorphologicallyAbnormalStructure),
        ("LUNG", codes.SCT.Lung),
        ("PLEURA", codes.SCT.Pleura),
        ("DIAMETER", codes.SCT.Diameter),
        ("MEAN", codes.SCT.Mean),
        ("ATTENUATION", codes.DCM.AttenuationCoefficient),
        ("COMMENT", codes.DCM.Comment),
        ("DEVICE", codes.DCM.Device),
        ("CERTAINTY_OF_FINDING", codes.DCM.CertaintyOfFinding),
        ("PROBABILITY_OF_CANCER", codes.DCM.ProbabilityOfCancer),
        ("ARTIFICIAL_INTELLIGENCE", codes.DCM.ArtificialIntelligence),
        ("MILLIMETER", codes.UCUM.Millimeter),
        ("HOUNSFIELD_UNIT", codes.UCUM.HounsfieldUnit),
        ("PERCENT", codes.UCUM.Percent),
    ],
)
def test_codes_of_the_standard(name: str, theirs: Code) -> None:
    ours = OURS[name]
    assert (ours.value, ours.scheme_designator) == (theirs.value, theirs.scheme_designator)
    assert ours.scheme_designator == "UCUM" or ours.meaning.lower() == theirs.meaning.lower(), "of units it is free"


def test_our_own_code_is_in_a_private_scheme() -> None:
    """PS3.16: private schemes begin with 99."""
    private = [code for code in OURS.values() if code.scheme_designator == dicom_codes.PRIVATE_SCHEME]
    assert private == [dicom_codes.DISTANCE_TO_PLEURA]
    assert dicom_codes.PRIVATE_SCHEME.startswith("99")
