"""The bags that the demo and the tests score are real recordings, and their truth is the truth."""

from __future__ import annotations

import numpy as np
import pytest

from pdl_ros.bags.label_topics import LabelTopics, decode_labels
from pdl_ros.bags.reader import ImageTopic, open_bag
from pdl_ros.datasets import Sample, Segment
from pdl_ros.demo.labelled_bag import (
    IMAGE,
    START,
    TRUTH,
    truth_map,
    write_dataset_bag,
    write_street_bag,
)
from pdl_ros.demo.scene import Scene
from pdl_ros.errors import PdlError

from .tiny_labels import CAR, DOG, LABEL_SET, ROAD


def test_a_drawn_street_is_recorded_with_its_exact_truth_and_lasting_ids(tmp_path):
    folder = write_street_bag(tmp_path / 'street', 4, seed=47, size=(96, 160))
    scene = Scene(47, 96, 160)
    topics = LabelTopics.open_truth(open_bag(folder), TRUTH)
    assert topics.label_set == scene.label_set
    assert topics.panoptic.stamps.tolist() == [START + round(n * 1e9 / 15) for n in range(4)]
    maps = [decode_labels(message) for message in topics.panoptic.messages(range(4))]
    pictures = list(ImageTopic.open(folder, IMAGE))
    for index, (labels, rgb) in enumerate(zip(maps, pictures, strict=True)):
        np.testing.assert_array_equal(labels, scene.frame(index).panoptic)
        np.testing.assert_array_equal(rgb, scene.frame(index).image)


def test_a_street_that_was_interrupted_is_not_there_and_can_be_written_anew(tmp_path, monkeypatch):
    whole = Scene.frame

    def interrupted(scene: Scene, number: int) -> Sample:
        if number == 2:
            raise KeyboardInterrupt
        return whole(scene, number)

    monkeypatch.setattr(Scene, 'frame', interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_street_bag(tmp_path / 'street', 4, size=(48, 64))
    assert not [*tmp_path.iterdir()]
    monkeypatch.setattr(Scene, 'frame', whole)
    folder = write_street_bag(tmp_path / 'street', 4, size=(48, 64))
    assert ImageTopic.open(folder, IMAGE).count == 4
    assert sorted(p.name for p in folder.iterdir()) == ['metadata.yaml', 'street_0.mcap']
    with pytest.raises(PdlError, match='is there already; give another folder'):
        write_street_bag(folder, 4, size=(48, 64))


def test_labels_of_any_data_become_ids_of_the_label_set():
    panoptic = np.array([[1, 1, 2, 3, 4, 9]], np.int32)
    segments = (Segment(1, ROAD), Segment(2, CAR), Segment(3, CAR), Segment(4, DOG, is_crowd=True))
    sample = Sample('x', np.zeros((1, 6, 3), np.uint8), panoptic, segments)
    assert truth_map(sample, LABEL_SET).tolist() == [[0, 0, 11, 12, 20, 65535]]


def test_a_drive_of_camvid_is_recorded_with_its_labels(tmp_path, camvid):
    from pdl_ros.datasets.label_folder import LabelFolder
    from pdl_ros.labels import LabelSet

    drive = LabelFolder(camvid, 'val', LabelSet.load('camvid'))
    bag = open_bag(write_dataset_bag(tmp_path / 'drive', drive, 15, frames=2))
    topics = LabelTopics.open_truth(bag)
    assert topics.label_set == drive.label_set
    for index, message in enumerate(topics.panoptic.messages(range(2))):
        np.testing.assert_array_equal(decode_labels(message), drive[index].panoptic)


def test_the_bag_is_read_by_the_library_of_others(tmp_path):
    rosbag2 = pytest.importorskip('rosbags.rosbag2')
    folder = write_street_bag(tmp_path / 'street', 2, size=(48, 64))
    with rosbag2.Reader(folder) as reader:
        counts = {c.topic: c.msgcount for c in reader.connections}
    assert counts == {IMAGE: 2, TRUTH: 2, '/truth/label_info': 1}
