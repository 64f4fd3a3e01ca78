"""Simulated chest CT with known nodules, written in the LUNA16 layout: `write_cohort(root, PhantomSpec())`."""

from lungdet.io.phantom.cohort import CohortSummary, write_cohort
from lungdet.io.phantom.plan import ScanPlan, plan_cohort
from lungdet.io.phantom.scan import PhantomScan, make_scan
from lungdet.io.phantom.spec import Difficulty, PhantomSpec

__all__ = [
    "CohortSummary",
    "Difficulty",
    "PhantomScan",
    "PhantomSpec",
    "ScanPlan",
    "make_scan",
    "plan_cohort",
    "write_cohort",
]
