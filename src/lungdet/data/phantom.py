"""The embedded cohort as a DataModule: written and preprocessed when it is missing, so that everything runs offline."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from lungdet.data.augment import CropAugmentation
from lungdet.data.clinical import ClinicalTable
from lungdet.data.intensity import Window
from lungdet.data.luna16 import Luna16DataModule
from lungdet.data.progress import Advance, silent
from lungdet.data.sample_kind import SampleKind
from lungdet.data.sampling import SamplingRule
from lungdet.data.splits import SplitRule
from lungdet.errors import StoreError
from lungdet.io.file_lock import sole_holder
from lungdet.io.phantom import PhantomSpec, write_cohort
from lungdet.store.marker import check_marker
from lungdet.store.preprocess import preprocess
from lungdet.store.schema import CropSize, StoreSpec

logger = logging.getLogger(__name__)


class PhantomDataModule(Luna16DataModule):
    """A simulated cohort in LUNA16 layout (docs/phantom.md).

    Args:
        cohort: what is simulated.
        root: where the scans and tables go.
        store_path, store, crop, window, sampling, augment, split, batch_size, num_workers, seed, samples,
            candidates_file, subsets, extra_negatives, extra_negatives_share, clinical, crop_cache, crop_cache_gb:
            see `Luna16DataModule`.
    """

    def __init__(
        self,
        *,
        cohort: PhantomSpec,
        root: Path | str,
        store_path: Path | str,
        store: StoreSpec,
        crop: CropSize,
        window: Window,
        sampling: SamplingRule,
        augment: CropAugmentation | None = None,
        split: SplitRule | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
        samples: SampleKind | None = None,
        candidates_file: str | None = None,
        subsets: Sequence[int] | None = None,
        extra_negatives: str | Sequence[str] | None = None,
        extra_negatives_share: float | None = None,
        clinical: ClinicalTable | None = None,
        crop_cache: Path | str | None = None,
        crop_cache_gb: float = 20.0,
    ) -> None:
        super().__init__(
            root=root,
            store_path=store_path,
            store=store,
            crop=crop,
            window=window,
            sampling=sampling,
            augment=augment,
            split=split,
            batch_size=batch_size,
            num_workers=num_workers,
            seed=seed,
            samples=samples,
            candidates_file=candidates_file,
            subsets=subsets,
            extra_negatives=extra_negatives,
            extra_negatives_share=extra_negatives_share,
            clinical=clinical,
            crop_cache=crop_cache,
            crop_cache_gb=crop_cache_gb,
        )
        self.cohort = cohort
        self._prepared = False
        # A command line puts its progress bar here: `progress(title, total=n)` gives a context with `advance`.
        self.progress: Callable[..., AbstractContextManager[Advance]] = silent

    @property
    def preprocess_command(self) -> str:
        """What to type to make the store."""
        return f"lungdet preprocess data=phantom data.root={self.root} data.store_path={self.store_path}"

    def scan_paths(self) -> dict[str, Path]:
        """Series UID -> scan file; what is missing of the cohort is written first."""
        with self._sole_maker():
            return self._made_scan_paths()

    def _made_scan_paths(self) -> dict[str, Path]:
        with self.progress("phantom", total=self.cohort.n_scans) as advance:
            summary = write_cohort(self.root, self.cohort, workers=os.cpu_count() or 1, progress=advance)
        if summary.written:
            logger.info("%s: %s", self.root, summary)
        return super().scan_paths()

    def store_problems(self) -> list[str]:
        """A store made with other settings is a problem; a missing or unfinished one is made by `prepare_data`."""
        try:
            if self.store_path.exists():
                check_marker(self.store_path, self.store_spec, command=self._rebuild_command)
        except StoreError as error:
            return [str(error)]
        return []

    def prepare_data(self) -> None:
        """Write the cohort and the store, as far as they are missing; Lightning calls it once per machine.

        Raises:
            StoreError: another cohort lies at `root`, the store has other settings, or a scan could not be stored.
        """
        if not self._prepared:  # Lightning asks again before it predicts
            with self._sole_maker():
                self._prepare()
            self._prepared = True

    def _prepare(self) -> None:
        scans = self._made_scan_paths()
        with self.progress("preprocess", total=len(scans)) as advance:
            report = preprocess(
                scans,
                self.store_path,
                self.store_spec,
                workers=os.cpu_count() or 1,
                progress=advance,
                command=self._rebuild_command,
            )
        if report.failed:
            uid, message = next(iter(report.failed.items()))
            raise StoreError(
                f"{len(report.failed)} of {len(scans)} phantom scans could not be stored, the first: {uid}: {message}"
            )
        self.samples.prepare(self.collection, store=self.store)

    def _sole_maker(self) -> AbstractContextManager[None]:
        """Trainings that start together make the cohort once: the others wait."""
        # Beside the folder, not in it: a cohort holds its own files only.
        self.root.parent.mkdir(parents=True, exist_ok=True)
        lock = self.root.with_name(f".{self.root.name}.lock")
        return sole_holder(lock, busy=f"{self.root}: another run is making this cohort; waiting for it", waits=True)

    @property
    def _rebuild_command(self) -> str:
        return f"{self.preprocess_command} overwrite=true"
