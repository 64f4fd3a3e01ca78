"""The words DICOM files use for what lungdet says: SNOMED CT and DICOM codes, one code of our own, the equipment."""

from __future__ import annotations

from pydicom.sr.coding import Code

NODULE = Code("27925004", "SCT", "Nodule")
ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
LUNG = Code("39607008", "SCT", "Lung")
PLEURA = Code("3120008", "SCT", "Pleura")
CT_CHEST = Code("24627-2", "LN", "CT Chest")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
COMMENT = Code("121106", "DCM", "Comment")
DEVICE = Code("121007", "DCM", "Device")

DIAMETER = Code("81827009", "SCT", "Diameter")
ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")
MEAN = Code("373098007", "SCT", "Mean")
CERTAINTY_OF_FINDING = Code("111012", "DCM", "Certainty of Finding")
PROBABILITY_OF_CANCER = Code("111047", "DCM", "Probability of cancer")

PRIVATE_SCHEME = "99LUNGDET"
# DICOM's "Distance" does not say from where to where, and viewers show the name alone.
DISTANCE_TO_PLEURA = Code("PLEURA_DISTANCE", PRIVATE_SCHEME, "Distance to pleura")

MILLIMETER = Code("mm", "UCUM", "millimeter")
HOUNSFIELD_UNIT = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
PERCENT = Code("%", "UCUM", "Percent")

NAME = "lungdet"
# Beyond the numbers that scanners and workstations give to the series of one study.
SEGMENTATION_SERIES_NUMBER = 9001
REPORT_SERIES_NUMBER = 9002
