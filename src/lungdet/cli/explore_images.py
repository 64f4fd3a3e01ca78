"""`lungdet explore` of 2-D images: every original once, the stored ones where they are there."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from omegaconf import DictConfig

from lungdet.cli.progress import scan_progress
from lungdet.data.images import ImageDataModule
from lungdet.errors import LungdetError
from lungdet.evaluation.page import count_text
from lungdet.evaluation.results import Finding
from lungdet.exploration.classes import classes_section, patients_section
from lungdet.exploration.content import Exploration, Words, first_capital
from lungdet.exploration.copies import copies_section, problems_section
from lungdet.exploration.ids import ids_section
from lungdet.exploration.image_survey import BOX_COLUMNS, OriginalSurvey, survey_originals, survey_stored
from lungdet.exploration.images import grey_values_section, image_samples_section, image_sizes_section
from lungdet.exploration.preprocessing import preprocessing_section
from lungdet.exploration.shortcuts import shortcuts_section
from lungdet.io.image_collection import ImageCollection
from lungdet.io.image_file import read_image
from lungdet.io.image_pixels import ImagePixels
from lungdet.store.image_statistics import FILE_NAME, ImageMoments, moments_of_counts, write_statistics
from lungdet.store.image_store import ImageStore
from lungdet.store.image_writer import is_finished
from lungdet.store.value_counts import ValueCounts

log = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]


def explore_images(
    datamodule: ImageDataModule, cfg: DictConfig, *, title: str, provenance: Mapping[str, Any]
) -> Exploration:
    """Everything that the page says of a 2-D collection.

    Args:
        datamodule: of the collection; no split is asked of it.
        cfg: of the command.
        title: of the page.
        provenance: what the command knows.

    Raises:
        MissingFileError, TableError: no collection where `data` says.
    """
    collection = datamodule.collection
    table = collection.images.astype({"image_id": str, "patient_id": str}).reset_index(drop=True)
    words = Words(collection.classes, collection.item, collection.items)
    store = finished_store(datamodule)
    with collection.pixels() as pixels:
        read = original_reader(collection, pixels)
        with scan_progress("explore", total=len(table), items="images") as advance:
            survey = survey_originals(
                table,
                read,
                classes=words.classes,
                n_channels=datamodule.channels,
                preprocess=datamodule.store_spec if store is None else None,
                check_ids=cfg.check_ids,
                advance=advance,
            )
        counts, moments, kept_in = grey_values(survey, store, collection, n_channels=datamodule.channels)
        images = survey.images.merge(table[["image_id", "label", "patient_id", "partition"]], on="image_id")
        if store is not None:
            images = images.merge(store.images[["image_id", *BOX_COLUMNS]], on="image_id")
        groups = survey.duplicates.groups
        sections = [
            classes_section(table, words),
            image_samples_section(images, read, words, n=cfg.n_samples, seed=cfg.seed),
            grey_values_section(
                counts, moments, kept_in=kept_in,
                source="stored images" if store is not None else "originals, preprocessed on the way",
            ),
            image_sizes_section(images, words),
            preprocessing_section(
                images, read, datamodule.store_spec, words,
                n_channels=datamodule.channels, n_shown=cfg.n_preprocessing, seed=cfg.seed,
            ),
            shortcuts_section(images, words),
            patients_section(table, words, is_explained=bool(collection.notes)),
            copies_section(
                groups, table.assign(name=table["image_id"]), words,
                looked_at=f"{count_text(len(images), 'original')} compared pixel by pixel (SHA-256).",
            ),
            *([ids_section(survey, n=len(images), items=words.items)] if cfg.check_ids else []),
            problems_section(survey.failures, n=len(table), items=words.items),
        ]  # fmt: skip
    notes = tuple(Finding("note", "collection", note) for note in collection.notes)
    sections[0] = dataclasses.replace(sections[0], findings=(*notes, *sections[0].findings))
    n_patients = table["patient_id"].nunique()
    n_positive = int((table["label"] == 1).sum())
    return Exploration(
        title=title,
        lead=f"{count_text(len(table), words.item, words.items)} of {count_text(n_patients, 'patient')}."
        if n_patients < len(table)
        else f"{count_text(len(table), words.item, words.items)}, each of a patient or group of its own.",
        tiles=(
            (words.title, count_text(len(table)), f"{len(survey.failures):,} unreadable"),
            ("Patients or groups", count_text(n_patients), f"{len(table) / n_patients:.3g} {words.items} each"),
            (first_capital(words.classes[1]), count_text(n_positive), f"{n_positive / len(table):.1%} of all"),
            ("Identical pixels", count_text(len(groups)), "groups"),
        ),
        sections=tuple(sections),
        provenance={
            **provenance,
            "source": str(cfg.data.get("root", "")),
            "store": str(store.path) if store is not None else None,
            "store_fingerprint": store.fingerprint if store is not None else None,
            "preprocessing": datamodule.store_spec.to_dict(),
        },
    )  # fmt: skip


def finished_store(datamodule: ImageDataModule) -> ImageStore | None:
    """The store, where it holds just this collection under these settings; looking must not make one."""
    try:
        store = datamodule.store
    except LungdetError as error:
        log.info("no store is used: %s", error)
        return None
    if is_finished(store.path, datamodule.collection):
        return store
    log.warning("%s holds other images than this collection and is not used", store.path)
    return None


def original_reader(collection: ImageCollection, pixels: ImagePixels) -> Callable[[str], Pixels]:
    """Originals with the channels that the file holds; grey where the collection is grey and the file is colourful."""
    places = {
        str(name): (str(path), int(row))
        for name, path, row in zip(
            collection.images["image_id"], collection.images["path"], collection.images["row"], strict=True
        )
    }

    def read(name: str) -> Pixels:
        path, row = places[name]
        return pixels.read(name) if row >= 0 else read_image(path)

    return read


def grey_values(
    survey: OriginalSurvey, store: ImageStore | None, collection: ImageCollection, *, n_channels: int
) -> tuple[Mapping[str, ValueCounts], ImageMoments, str]:
    """Counts by class and the moments of all; those of a store are written into its folder."""
    counts: Mapping[str, ValueCounts] = survey.counts
    if store is not None:
        stored = ((str(name), store.image(str(name))) for name in store.images["image_id"])
        counts = survey_stored(collection.images, stored, classes=collection.classes, n_channels=n_channels)
    total = ValueCounts(n_channels=n_channels)
    for counted in counts.values():
        total = total + counted
    n_images = len(survey.images) if store is None else len(store)
    moments = moments_of_counts(total, n_images=n_images, fingerprint="" if store is None else store.fingerprint)
    if store is None:
        return counts, moments, ""
    write_statistics(store.path, moments)
    return counts, moments, str(store.path / FILE_NAME)
