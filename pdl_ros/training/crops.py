"""The stream of training crops."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from pdl_ros.datasets import PanopticDataset, Sample, groups_of
from pdl_ros.datasets.groups import are_things, ids_within
from pdl_ros.errors import PdlError
from pdl_ros.network.variants import Variant
from pdl_ros.preprocessing import network_size
from pdl_ros.training.augmentation import augment
from pdl_ros.training.other_camera import other_camera
from pdl_ros.training.paste import paste_things, richest
from pdl_ros.training.railing import draw_railing
from pdl_ros.training.settings import TrainSettings, railing_class, require_known
from pdl_ros.training.targets import make_targets

Batch = dict[str, Tensor]
_DONORS = 4  # crops, the one with the most rare things of which gives some away


class Crops(Dataset[Batch]):
    """The crops of steps `start`..`end`, each a function of the seed and its index alone, so a
    resumed run sees exactly what an uninterrupted one would have.

    Of `world` processes each, by its `rank`, takes its own part of every step's crops.
    """

    def __init__(
        self,
        dataset: PanopticDataset,
        variant: Variant,
        settings: TrainSettings,
        start: int,
        end: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.dataset, self.variant, self.settings = dataset, variant, settings
        self.start, self.rank = start, rank
        self.share = settings.batch_size // world
        self.count = (end - start) * self.share
        self._things = are_things(dataset.label_set, groups_of(dataset))
        augmentation = settings.augmentation
        things = [c.name for c in dataset.label_set.classes if c.is_thing]
        require_known('paste_rare', augmentation.paste_rare, things, 'things')
        self._rare = ids_within(augmentation.paste_rare, dataset.label_set, groups_of(dataset))
        self._railing = (
            railing_class(augmentation, dataset.label_set) if augmentation.railing else None
        )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Batch:
        step, position = divmod(index, self.share)
        index = (self.start + step) * self.settings.batch_size + self.rank * self.share + position
        rng = np.random.default_rng((self.settings.seed, 1, index))
        sample = self._crop(index, rng)
        augmentation = self.settings.augmentation
        # Drawn only where a recipe asks for it: the crops of others stay what they were.
        if augmentation.paste and rng.random() < augmentation.paste:
            donors = [
                self._crop(int(rng.integers(1 << 40)), rng)
                for _ in range(_DONORS if augmentation.paste_rare else 1)
            ]
            sample = paste_things(sample, richest(donors, self._rare), self._things, rng)
        if self._railing is not None and rng.random() < augmentation.railing:
            sample = draw_railing(sample, self._railing, rng)
        if augmentation.camera and rng.random() < augmentation.camera:
            sample = sample._replace(image=other_camera(sample.image, rng))
        targets = make_targets(
            sample.panoptic,
            sample.segments,
            self.dataset.label_set,
            self.settings.targets,
            groups_of(self.dataset),
        )
        mean, std = (np.array(v, np.float32) for v in (self.variant.mean, self.variant.std))
        image = (sample.image.astype(np.float32) - mean) / std
        return {
            'image': torch.from_numpy(image.transpose(2, 0, 1)),
            **{name: torch.from_numpy(value) for name, value in targets._asdict().items()},
        }

    def _crop(self, index: int, rng: np.random.Generator) -> Sample:
        """Return a random crop of the picture that is the `index`-th of the training."""
        epoch, position = divmod(index, len(self.dataset))
        order = np.random.default_rng((self.settings.seed, epoch)).permutation(len(self.dataset))
        sample = self.dataset[int(order[position])]
        height, width = sample.image.shape[:2]
        return augment(
            sample,
            self.settings.augmentation,
            self.variant.mean,
            rng,
            network_size(height, width, self.variant),
        )


def load(crops: Crops, batch_size: int, workers: int, pin: bool) -> Iterator[Batch]:
    """Yield batches of crops in their order, prepared by `workers` processes; 0 = by this one.

    Raises PdlError where a picture or its labels cannot be used.
    """
    batches: DataLoader[Batch | PdlError] = DataLoader(
        _CropsOrErrors(crops),
        batch_size,
        num_workers=workers,
        collate_fn=_batch,
        pin_memory=pin,
        worker_init_fn=_init_worker,
        prefetch_factor=4 if workers else None,
    )
    for batch in batches:
        if isinstance(batch, PdlError):
            raise batch
        yield batch


class _CropsOrErrors(Dataset[Batch | PdlError]):
    """Crops, or the error in place of one: of what a process raises, PyTorch makes one text with
    the traceback.
    """

    def __init__(self, crops: Crops) -> None:
        self._crops = crops

    def __len__(self) -> int:
        return len(self._crops)

    def __getitem__(self, index: int) -> Batch | PdlError:
        try:
            return self._crops[index]
        except PdlError as error:
            return error


def _batch(crops: Sequence[Batch | PdlError]) -> Batch | PdlError:
    """Return crops as one batch, or the first error among them."""
    for crop in crops:
        if isinstance(crop, PdlError):
            return crop
    batch: Batch = default_collate(list(crops))
    return batch


def _init_worker(_: int) -> None:
    # Signals reach all processes of a terminal or a service; the one that trains finishes its step,
    # for which it needs its crops, and then ends the workers.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
