"""The demo's contact sheet says how many things are on each of its pictures."""

from __future__ import annotations

import numpy as np

from pdl_ros.demo.contact_sheet import count_things
from pdl_ros.demo.scene import SceneDataset
from pdl_ros.labels import LabelSet


def test_a_stranger_who_counts_the_cars_of_a_drawn_street_gets_the_number_under_it():
    scenes = SceneDataset(8, 160, 256, first_seed=50)
    names = [c.name for c in scenes.label_set.classes]
    told = 0
    for index in range(len(scenes)):
        sample = scenes[index]
        counts = {
            name: int(count)
            for count, name in (part.split(' ', 1) for part in
                                count_things(sample.panoptic, scenes.label_set).split(', '))
            if count != 'no'
        }  # fmt: skip
        for class_id in scenes.label_set.thing_ids:
            there = sum(
                s.class_id == class_id and (sample.panoptic == s.id).any() for s in sample.segments
            )
            assert counts.get(names[class_id], 0) == there
            told += there
    assert told > 8


def test_stuff_and_void_are_no_things():
    street = LabelSet.load('street')
    panoptic = np.array([[0, 1000, 65535], [10001, 10002, 8001]], np.int32)
    assert count_things(panoptic, street) == '1 person, 2 car'
    assert count_things(panoptic[:1], street) == 'no things'
