"""The sections on 2-D images: pictures of each class, grey values, sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.errors import LungdetError
from lungdet.evaluation.page import count_text
from lungdet.evaluation.results import Finding
from lungdet.exploration.contact_sheet import spread_choice
from lungdet.exploration.content import Drawing, Grid, Sample, Section, Table, Words
from lungdet.exploration.figures import grey_value_figure, image_size_figure
from lungdet.exploration.scans import file_word
from lungdet.store.image_statistics import ImageMoments
from lungdet.store.value_counts import ValueCounts

ReadImage = Callable[[str], npt.NDArray[np.uint8]]

_SIZES_SHOWN = 12
_QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)


def image_samples_section(images: pd.DataFrame, read: ReadImage, words: Words, *, n: int, seed: int) -> Section:
    """Originals of each class.

    Args:
        images: image_id, label, patient_id, height, width; those that could be read.
        read: image_id -> pixels of the original.
        words: class names.
        n: of each class.
        seed: of the choice.
    """
    generator = np.random.default_rng(seed)
    grids, chosen = [], {}
    for label, name in enumerate(words.classes):
        of_class = images[images["label"] == label]
        rows = of_class.iloc[spread_choice(list(of_class["patient_id"]), n, generator=generator)]
        samples = []
        for row in rows.itertuples():
            try:
                picture = read(str(row.image_id))
            except LungdetError:  # gone since it was surveyed: it is listed where it matters
                continue
            samples.append(Sample(picture, str(row.image_id), f"{row.height} x {row.width}"))
        if samples:
            grids.append(Grid(f"samples-{file_word(name)}", f"{name}, {len(samples)} at random", tuple(samples)))
        chosen[name] = [sample.name for sample in samples]
    return Section(
        name="samples",
        title="Samples",
        text="Originals, height x width in pixels; at most one a patient as long as there are others.",
        grids=tuple(grids),
        record=chosen,
    )


def grey_values_section(
    counts: Mapping[str, ValueCounts], moments: ImageMoments, *, source: str, kept_in: str
) -> Section:
    """Histograms by class, mean and standard deviation by channel.

    Args:
        counts: class -> grey values.
        moments: of all classes together.
        source: whose pixels: "stored images", or "originals, preprocessed on the way".
        kept_in: where the moments were written; empty for nowhere.
    """
    channels = ("grey",) if len(moments.mean) == 1 else ("red", "green", "blue")
    there = {name: counted for name, counted in counts.items() if counted.n_values}
    by_class = {
        name: {"mean": [mean / 255 for mean in counted.mean], "std": [std / 255 for std in counted.std]}
        for name, counted in there.items()
    }
    record: dict[str, Any] = {
        "source": source,
        "channels": list(channels),
        "n_images": moments.n_images,
        "mean": list(moments.mean),
        "std": list(moments.std),
        "fingerprint": moments.fingerprint,
        "classes": by_class,
    }
    everything = {"All": {"mean": list(moments.mean), "std": list(moments.std)}, **by_class}
    lines = tuple(
        (name, *(value for pair in zip(row["mean"], row["std"], strict=True) for value in pair))
        for name, row in everything.items()
    )
    heads = ("", *(f"{channel}, {what}" for channel in channels for what in ("mean", "standard deviation")))
    shown = {name: counted.counts for name, counted in there.items()}
    written = f" Mean and deviation are kept in {kept_in} for networks that standardise by them." if kept_in else ""
    return Section(
        name="intensities",
        title="Grey values" if len(channels) == 1 else "Channels",
        text=f"Of all pixels of {count_text(moments.n_images, 'image')}: {source}.{written}",
        tables=(Table("In units of [0, 1]: grey value / 255.", heads, lines),),
        drawings=(
            Drawing(
                "grey-values",
                grey_value_figure(shown),
                "Grey values of each class, as shares of its pixels, two values a step. Steps at 0 and 255 that are "
                "higher than all others are cut off.",
            ),
        )
        if shown
        else (),
        record=record,
    )


def image_sizes_section(images: pd.DataFrame, words: Words) -> Section:
    """Height, width and channels of the original files.

    Args:
        images: label, height, width, channels; those that could be read.
        words: class names.
    """
    if images.empty:
        return Section(name="sizes", title="Sizes", text="No image could be read.")
    sizes = pd.crosstab([images["height"], images["width"], images["channels"]], images["label"])
    sizes = sizes.reindex(columns=range(len(words.classes)), fill_value=0)
    sizes = sizes.loc[sizes.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    lines = [
        (f"{height} x {width}, {channels}", *(int(n) for n in row))
        for (height, width, channels), row in zip(sizes.index[:_SIZES_SHOWN], sizes.to_numpy(), strict=False)
    ]
    more = len(sizes) - len(lines)
    tables = [
        Table(
            "Height x width in pixels, channels of the file"
            + (f"; {more:,} rarer ones are left out." if more else "."),
            ("", *(f"{name}, {words.items}" for name in words.classes)),
            tuple(lines),
        )
    ]
    one_size = len(images.groupby(["height", "width"])) == 1
    measured = {
        "Height": images["height"],
        "Width": images["width"],
        "Width / height": images["width"] / images["height"],
    }
    quantiles = {name: np.quantile(values.to_numpy(np.float64), _QUANTILES) for name, values in measured.items()}
    if not one_size:
        heads = ("", "smallest", "5 %", "median", "95 %", "largest")
        rows = tuple((name, *map(float, values)) for name, values in quantiles.items())
        tables.append(Table("Quantiles over images.", heads, rows))
    kinds = {str(name): int(n) for name, n in images["channels"].value_counts().items()}
    return Section(
        name="sizes",
        title="Sizes",
        text=f"{count_text(len(images), 'original')} of {count_text(len(sizes), 'size')}: "
        + ", ".join(f"{n:,} {name}" for name, n in kinds.items()) + ".",
        tables=tuple(tables),
        drawings=()
        if one_size
        else (
            Drawing(
                "sizes",
                image_size_figure(images["width"], images["height"], images["label"], words.classes),
                "Height over width of every original; the dashed line is square.",
            ),
        ),
        findings=tuple(_about_channels(kinds)),
        record={
            "channels": kinds,
            "sizes": [
                {"height": h, "width": w, "channels": c} | dict(zip(words.classes, row.tolist(), strict=True))
                for (h, w, c), row in zip(sizes.index, sizes.to_numpy(), strict=True)
            ],
            **{
                name.lower().replace(" / ", "_over_"): {
                    f"p{s * 100:g}": float(v) for s, v in zip(_QUANTILES, values, strict=True)
                }
                for name, values in quantiles.items()
            },
        },
    )  # fmt: skip


def _about_channels(kinds: Mapping[str, int]) -> Iterator[Finding]:
    if len(kinds) > 1:
        said = ", ".join(f"{n:,} {name}" for name, n in kinds.items())
        yield Finding("note", "channels", f"Files differ in their channels ({said}); all are read alike.")
