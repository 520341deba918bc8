"""Counting anew on the CPU: what the pass over all pixels could not know yet."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pdl_ros.fusion.limits import NO_EVIDENCE
from pdl_ros.fusion.sampling import Axis, sample_at, usable
from pdl_ros.fusion.tables import Counts
from pdl_ros.fusion.voting import outvoted, winners

_AT_ONCE = 4096  # pixels whose logits fit into the cache


def sum_probability(
    semantic_head: Tensor, axes: tuple[Axis, Axis], number: np.ndarray, class_id: Tensor
) -> Tensor:
    """Sum the softmax of its class over each of K parts of a (H, W) map, numbered from 1: (K, 1)
    float64.
    """
    logits = usable(semantic_head, NO_EVIDENCE).permute(1, 2, 0).contiguous()
    total = torch.zeros(len(class_id), dtype=torch.float64)
    pixels = torch.from_numpy(np.stack(np.nonzero(number)))
    for ys, xs in (part.unbind() for part in pixels.split(_AT_ONCE, 1)):
        own = torch.from_numpy(number)[ys, xs].long() - 1
        chance = sample_at(logits, axes, ys, xs).softmax(1)
        total.index_add_(0, own, chance.gather(1, class_id[own, None])[:, 0].double())
    return total[:, None]


def split_outvoted(
    counts: Counts,
    moment: np.ndarray,
    semantic: np.ndarray,
    instance: np.ndarray,
    semantic_head: Tensor,
    axes: tuple[Axis, Axis],
    class_of_thing: Tensor,
    smallest: int,
) -> tuple[Counts, np.ndarray]:
    """Do what `voting.split_outvoted` does with the counts of K centres: S of them, in their order,
    get a second row after all others, and the (H, W) int32 `instance` map its number.

    moment: (K, 2) summed y and x; it comes back with S more rows.
    """
    second = outvoted(counts.votes, smallest)
    (split,) = torch.nonzero(second >= 0, as_tuple=True)
    if not len(split):
        return counts, moment
    count, more = len(second), len(split)
    counts = counts._replace(
        votes=torch.cat([counts.votes, torch.zeros_like(counts.votes[split])]),
        probability=torch.cat([counts.probability, torch.zeros_like(counts.probability[split])]),
        box=torch.cat([counts.box, counts.box[split]]),
        center=torch.cat([counts.center, counts.center[split]]),
        objectness=torch.cat([counts.objectness, counts.objectness[split]]),
    )
    moment = np.concatenate([moment, moment[split.numpy()]])
    counts.votes[torch.arange(count, count + more), second[split]] = counts.votes[
        split, second[split]
    ]
    counts.votes[split, second[split]] = 0
    # Rows are counted anew in pairs: what is left of an instance, and what splits off.
    rows = torch.stack([split, torch.arange(count, count + more)], 1).flatten()
    number = np.zeros(semantic.shape, np.int32)
    for pair, (center, thing) in enumerate(
        zip(split.tolist(), second[split].tolist(), strict=True)
    ):
        x0, y0, x1, y1 = counts.box[center].tolist()
        at = np.s_[y0:y1, x0:x1]
        own = instance[at] == center + 1
        off = own & (semantic[at] == int(class_of_thing[thing]))
        instance[at][off] = count + pair + 1
        for row, mask in ((center, own & ~off), (count + pair, off)):
            ys, xs = np.nonzero(mask)
            number[at][mask] = 2 * pair + (row >= count) + 1
            counts.box[row] = torch.tensor(
                [x0 + xs.min(), y0 + ys.min(), x0 + xs.max() + 1, y0 + ys.max() + 1]
            )
            moment[row] = ys.sum() + y0 * len(ys), xs.sum() + x0 * len(xs)
    winner = winners(counts.votes[rows])
    total = sum_probability(semantic_head, axes, number, class_of_thing[winner].long())
    counts.probability[rows] = 0.0
    counts.probability[rows, winner] = total[:, 0]
    return counts, moment
