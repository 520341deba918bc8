"""A node that runs for days keeps its memory: `make soak`, some minutes."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import theilslopes

from pdl_ros.pipeline import Segmenter

from ..node.harness import OUTPUTS, Harness, running
from ..node.test_topics import assert_label_images_equal, message_of

FRAMES, WARM_UP, EVERY = 2000, 500, 20
VISITORS, WARM_UP_VISITORS = 1000, 250


def memory_of(node: Harness) -> int:
    """Return the resident memory of the node's process, in bytes."""
    pages = Path(f'/proc/{node.process.pid}/statm').read_text().split()[1]
    return int(pages) * os.sysconf('SC_PAGE_SIZE')


def growth(sizes: list[tuple[int, int]]) -> float:
    """Return the bytes that memory grows by with each count, unmoved by single steps."""
    counts, memory = zip(*sizes, strict=True)
    return float(theilslopes(memory, counts).slope)


def report(what: str, sizes: list[tuple[int, int]]) -> str:
    first, last = sizes[0][1] / 1e6, sizes[-1][1] / 1e6
    return f'{growth(sizes):.0f} bytes a {what}; {first:.1f} MB at first, {last:.1f} at last'


@pytest.mark.timeout(900)
def test_two_thousand_frames_leave_no_memory_behind(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray, segmenter: Segmenter
) -> None:
    everything = {**parameters, 'tracking': True}
    with running(everything, tmp_path / 'log.txt', domain) as node:
        node.listen()
        image, sizes = message_of(rgb[:48, :64], 'rgb8', node.header()), []
        for count in range(FRAMES):
            image.header = node.header()
            node.send(image)
            if count >= WARM_UP and count % EVERY == 0:
                sizes.append((count, memory_of(node)))
                for kept in node.received.values():
                    kept.clear()
        print(report('frame', sizes))
        assert growth(sizes) < 1000, report('frame', sizes)


@pytest.mark.timeout(900)
def test_a_thousand_subscribers_that_come_and_go_leave_neither_memory_nor_wrong_frames(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray, segmenter: Segmenter
) -> None:
    with running(parameters, tmp_path / 'log.txt', domain) as node:
        node.wait(lambda: node.node.count_publishers('/panoptic_node/timing') > 0, 120)
        sizes = []
        for count, name in zip(range(VISITORS), itertools.cycle(OUTPUTS), strict=False):
            visit(node, name, rgb)
            if count >= WARM_UP_VISITORS and count % 10 == 0:
                sizes.append((count, memory_of(node)))
        print(report('visitor', sizes))
        node.listen()
        outputs = node.send(message_of(rgb, 'rgb8', node.header()))
        assert_label_images_equal(outputs, segmenter, rgb)
        assert 'Traceback' not in node.log()
        assert growth(sizes) < 1000, report('visitor', sizes)


def visit(node: Harness, name: str, rgb: np.ndarray) -> None:
    """Subscribe to one output, get a frame of it, and leave."""
    kept: list[Any] = []
    subscription = node.node.create_subscription(
        OUTPUTS[name], f'/panoptic_node/{name}', kept.append, 5
    )
    while not kept:  # a frame before the node knows of us is for nobody
        node.camera.publish(message_of(rgb, 'rgb8', node.header()))
        node.spin(0.03)
        assert node.process.poll() is None, node.log()
    node.node.destroy_subscription(subscription)


def test_twenty_configurations_leave_no_memory_behind(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    with running({**parameters, 'autostart': False}, tmp_path / 'log.txt', domain) as node:
        sizes = []
        for _ in range(20):
            assert node.transition('configure')
            assert node.transition('activate')
            assert node.transition('deactivate')
            assert node.transition('cleanup')
            sizes.append(memory_of(node))
        # The first cycles fill what PyTorch, DDS and Python keep for good.
        assert sizes[-1] < 1.02 * sizes[3], ' '.join(f'{size / 1e6:.0f}' for size in sizes)
