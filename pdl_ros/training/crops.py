"""The stream of training crops."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pdl_ros.datasets import PanopticDataset
from pdl_ros.network.variants import Variant
from pdl_ros.training.augmentation import augment
from pdl_ros.training.settings import TrainSettings
from pdl_ros.training.targets import make_targets


class Crops(Dataset[dict[str, Tensor]]):
    """The crops of steps `start`..`end`, each a function of the seed and its index alone, so a
    resumed run sees exactly what an uninterrupted one would have."""

    def __init__(
        self,
        dataset: PanopticDataset,
        variant: Variant,
        settings: TrainSettings,
        start: int,
        end: int,
    ) -> None:
        self.dataset, self.variant, self.settings = dataset, variant, settings
        self.first, self.count = start * settings.batch_size, (end - start) * settings.batch_size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        index += self.first
        seed = self.settings.seed
        epoch, position = divmod(index, len(self.dataset))
        order = np.random.default_rng((seed, epoch)).permutation(len(self.dataset))
        sample = augment(
            self.dataset[int(order[position])],
            self.settings.augmentation,
            self.variant.mean,
            np.random.default_rng((seed, 1, index)),
        )
        targets = make_targets(
            sample.panoptic, sample.segments, self.dataset.label_set, self.settings.targets
        )
        mean, std = (np.array(v, np.float32) for v in (self.variant.mean, self.variant.std))
        image = (sample.image.astype(np.float32) - mean) / std
        return {
            'image': torch.from_numpy(image.transpose(2, 0, 1)),
            **{name: torch.from_numpy(value) for name, value in targets._asdict().items()},
        }
