"""Whether ids hold, in words."""

from __future__ import annotations

import pandas as pd

from lungdet.exploration.ids import ids_section
from lungdet.exploration.image_survey import OriginalSurvey


def test_ids_that_hold_that_do_not_and_that_are_none() -> None:
    nothing = pd.DataFrame()
    good = ids_section(OriginalSurvey(nothing, {}, {}, 3), n=3, items="patches")
    assert [finding.kind for finding in good.findings] == ["good"]
    bad = ids_section(OriginalSurvey(nothing, {}, {"f00": "the pixels have the SHA-1 abc"}, 3), n=4, items="patches")
    assert bad.findings[0].text.startswith("1 of 3 ids are not the SHA-1 of their pixels")
    assert bad.lists["Wrong"] == ("f00: the pixels have the SHA-1 abc",)
    assert bad.record == {"checked": 3, "wrong": {"f00": "the pixels have the SHA-1 abc"}}
    assert ids_section(OriginalSurvey(nothing, {}), n=4, items="patches").findings == ()
