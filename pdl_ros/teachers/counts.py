"""How much of the labels the data gave, and how much the teachers."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from pdl_ros.datasets.groups import Groups
from pdl_ros.teachers.labels import UNKNOWN, Labels
from pdl_ros.teachers.splitting import Split


@dataclass
class Counts:
    """Pixels: by_data had one class; decided had joined ones and have one; added had none; joined
    and unknown stayed so. The rest as `Split` has it, in all pictures.
    """

    pictures: int = 0
    by_data: int = 0
    decided: int = 0
    added: int = 0
    joined: int = 0
    unknown: int = 0
    regions: int = 0
    doubtful: int = 0
    instances: int = 0

    def add(self, other: Counts) -> None:
        """Add those of other pictures."""
        for field in fields(self):
            name = field.name
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def sentences(self) -> list[str]:
        """Return them in words."""
        pixels = self.by_data + self.decided + self.added + self.joined + self.unknown

        def share(part: int) -> str:
            return f'{100 * part / max(pixels, 1):.1f} %'

        lines = [
            f'{self.pictures} pictures. Of their pixels the data labelled {share(self.by_data)}; '
            f'the teacher decided {share(self.decided)} that were joined and added '
            f'{share(self.added)}; {share(self.joined)} stayed joined, {share(self.unknown)} '
            'unknown.'
        ]
        if self.regions:
            lines.append(
                f'{self.regions} joined regions of things: {self.regions - self.doubtful} became '
                f'{self.instances} instances, {self.doubtful} are doubtful and stay crowds.'
            )
        return lines


def count(before: np.ndarray, after: Labels, members: Groups, split: Split) -> Counts:
    """Count one picture. before: its classes as the data had them."""
    single = np.array([len(ids) == 1 for ids in members] + [False])
    unknown, open_, decided = before == UNKNOWN, ~single[before], single[after.classes]
    return Counts(
        1,
        int((~open_).sum()),
        int((open_ & ~unknown & decided).sum()),
        int((unknown & decided).sum()),
        int((~decided & (after.classes != UNKNOWN)).sum()),
        int((after.classes == UNKNOWN).sum()),
        split.regions,
        split.doubtful,
        len(split.boxes),
    )
