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
    semantic_head: Tensor, axes: tuple[Axis, Axis], number: np.ndarray, class_ids: Tensor
) -> Tensor:
    """Sum the softmax of N classes over each of K parts of a (H, W) map, numbered from 1.

    class_ids: (K, N) int64, of each part. -> (K, N) float64.
    """
    logits = usable(semantic_head, NO_EVIDENCE).permute(1, 2, 0).contiguous()
    total = torch.zeros(class_ids.shape, dtype=torch.float64)
    pixels = torch.from_numpy(np.stack(np.nonzero(number)))
    for ys, xs in (part.unbind() for part in pixels.split(_AT_ONCE, 1)):
        own = torch.from_numpy(number)[ys, xs].long() - 1
        chance = sample_at(logits, axes, ys, xs).softmax(1)
        total.index_add_(0, own, chance.gather(1, class_ids[own]).double())
    return total


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
    (old,) = torch.nonzero(second >= 0, as_tuple=True)
    if not len(old):
        return counts, moment
    second, count = second[old], len(second)
    new = torch.arange(count, count + len(old))
    winner = winners(counts.votes[old])
    votes, probability, box, center, objectness = (
        torch.cat([column, column[old]]) for column in counts[:5]
    )
    moment = np.concatenate([moment, moment[old.numpy()]])
    pixels = votes[old, second]
    votes[new] = 0
    votes[new, second], votes[old, second] = pixels, 0
    number = np.zeros(semantic.shape, np.int32)
    for row, (index, thing) in enumerate(zip(old.tolist(), second.tolist(), strict=True)):
        x0, y0, x1, y1 = box[index].tolist()
        at = np.s_[y0:y1, x0:x1]
        own = instance[at] == index + 1
        off = own & (semantic[at] == int(class_of_thing[thing]))
        instance[at][off] = count + row + 1
        number[at][off] = row + 1
        for place, mask in ((index, own & ~off), (count + row, off)):
            ys, xs = np.nonzero(mask)
            ys, xs = ys + y0, xs + x0
            box[place] = torch.tensor([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
            moment[place] = ys.sum(), xs.sum()
    # What splits off takes its chances with it: those of the class that it had to be, and its own.
    classes = class_of_thing[torch.stack([winner, second], 1)].long()
    chance = sum_probability(semantic_head, axes, number, classes)
    probability[old, winner] -= chance[:, 0]
    probability[new, second] = chance[:, 1]
    middle = torch.from_numpy(moment[new.numpy()]).double() / pixels[:, None]
    center[new] = middle.flip(1).to(center.dtype)
    return Counts(votes, probability, box, center, objectness, counts.area), moment
