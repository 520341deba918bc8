"""The node's parameters: one table for declaration, description, validation and documentation."""

from __future__ import annotations

from typing import Any, NamedTuple

from pdl_ros.engines import ENGINES, PRECISIONS
from pdl_ros.fusion.settings import WITHOUT_CENTER

OUTPUTS = (
    'semantic',
    'instance',
    'panoptic',
    'overlay',
    'instances',
    'detections',
    'points',
    'timing',
)
"""What the node can publish of a frame."""


class Parameter(NamedTuple):
    """One row: the default gives the type; `limits` is (lowest, highest), `choices` what a string,
    or each of several, can be. `live`: a change takes effect on the next frame; the others need a
    new configure.
    """

    name: str
    default: Any
    description: str
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    live: bool = False


TABLE = (
    Parameter(
        'variant',
        '',
        'Model variant (`pdl_ros variants`); with weights it need not be given, only asserts.',
    ),
    Parameter(
        'weights',
        '',
        "Checkpoint file; empty: what is shipped with the variant, without one the street model's.",
    ),
    Parameter('device', 'auto', 'auto (CUDA where there is one), cpu, cuda or cuda:N.'),
    Parameter(
        'engine',
        'auto',
        'What runs the network; auto takes what is fastest here, timed at the first configure.',
        choices=ENGINES,
    ),
    Parameter(
        'precision',
        'auto',
        'Numbers that the network computes with; auto: the fastest that keep the labels of fp32.',
        choices=PRECISIONS,
    ),
    Parameter(
        'engine_fallback',
        True,
        'Run on torch, with a warning, where the engine cannot be had; else configure fails.',
    ),
    Parameter(
        'engine_background',
        False,
        'Run on torch while a TensorRT engine builds, instead of building it in configure.',
    ),
    Parameter(
        'warm_up_size',
        '640x480',
        'WxH of the frames that are expected: engines are timed, and the network runs on empty '
        'ones, at that size in configure.',
    ),
    Parameter('autostart', True, 'Configure and activate at the start, without a manager.'),
    Parameter(
        'bond_heartbeat_period',
        0.0,
        "Seconds between heartbeats of the bond with nav2's lifecycle manager; 0: no bond.",
        (0.0, 60.0),
    ),
    Parameter(
        'on_engine_failure',
        'restart',
        'What follows when the engine cannot go on: it is restarted (5 times at most), the process '
        'exits with status 1 (for `respawn`), or the node stops: it waits unconfigured.',
        choices=('restart', 'exit', 'stop'),
        live=True,
    ),
    Parameter(
        'engine_timeout',
        60.0,
        'Seconds without a result after which a frame on the device is such a failure; 0: never.',
        (0.0, 3600.0),
        live=True,
    ),
    Parameter(
        'cameras',
        [''],
        'Names of several cameras, each with topics under its name; none: one on `image`.',
    ),
    Parameter(
        'batch_window_ms',
        0.0,
        "Milliseconds that a frame waits for other cameras', to be segmented with them; 0: not.",
        (0.0, 1000.0),
    ),
    Parameter(
        'lazy',
        False,
        'Subscribe to the cameras only while somebody listens to what is made of them.',
    ),
    Parameter(
        'transport',
        'raw',
        'raw subscribes to `image`, compressed to `image/compressed` (JPEG or PNG).',
        choices=('raw', 'compressed'),
    ),
    Parameter(
        'max_image_pixels',
        1 << 24,
        'Most pixels of an image that is decoded; larger ones are refused by their header.',
        (1, 1 << 28),
    ),
    Parameter(
        'image_qos',
        'sensor_data',
        'Reliability asked of the camera: sensor_data is best effort, auto is what it offers.',
        choices=('sensor_data', 'reliable', 'auto'),
    ),
    Parameter(
        'policy',
        'newest',
        'newest drops frames that a newer one replaces; every_frame queues them, for bags.',
        choices=('newest', 'every_frame'),
    ),
    Parameter(
        'queue_size', 10, 'Frames that every_frame keeps waiting for each camera.', (1, 1000)
    ),
    Parameter('rotate', 0, 'Degrees by which frames are turned clockwise: 0, 90, 180 or 270.'),
    Parameter(
        'roi',
        [0, 0, 0, 0],
        'Part of the frame to segment: x, y, width, height in pixels; all 0: the whole.',
    ),
    Parameter(
        'output_size',
        'input',
        'Size of the label images: input (the frame, cropped and turned), network, or WxH.',
    ),
    Parameter(
        'points',
        'none',
        'Publish ~/points from the topic `depth`: one point a depth pixel, or only valid ones.',
        choices=('none', 'organised', 'dense'),
    ),
    Parameter(
        'depth_wait_ms',
        100.0,
        'Milliseconds that a frame waits at most for its depth image, while points are wanted.',
        (0.0, 1000.0),
    ),
    Parameter(
        'max_frame_age',
        0.0,
        'Seconds after its stamp from which a frame is dropped unseen; 0: never.',
        (0.0, 3600.0),
        live=True,
    ),
    Parameter(
        'rate_limit',
        0.0,
        'Most frames a second of each camera; 0: as many as the device can.',
        (0.0, 1000.0),
        live=True,
    ),
    Parameter(
        'outputs',
        list(OUTPUTS),
        'What may be published; what is not named costs nothing even when subscribed.',
        choices=OUTPUTS,
        live=True,
    ),
    Parameter(
        'center_threshold',
        -1.0,
        "Heatmap value a centre must exceed; -1: the variant's own.",
        (-1.0, 10.0),
        live=True,
    ),
    Parameter(
        'nms_kernel',
        -1,
        "Odd window, in network pixels, in which a centre is the maximum; -1: the variant's own.",
        (-1, 255),
        live=True,
    ),
    Parameter(
        'top_k',
        -1,
        "Most centres in a frame; -1: the variant's own.",
        (-1, 65535),
        live=True,
    ),
    Parameter(
        'stuff_area',
        -1,
        'Fewest network pixels of a stuff class, and of a thing in a frame without centres; fewer '
        "are void; -1: the variant's own.",
        (-1, 10_000_000),
        live=True,
    ),
    Parameter(
        'without_center',
        'variant',
        'What the things of a frame become in which no centre was found: void, or instances, one '
        "for each of their connected components; variant: the variant's own.",
        choices=('variant', *WITHOUT_CENTER),
        live=True,
    ),
    Parameter(
        'outvoted_area',
        -1,
        "Fewest network pixels of a thing's second class, three tenths of it or more, that become "
        "a thing of their own; 0: never; -1: the variant's own.",
        (-1, 10_000_000),
        live=True,
    ),
    Parameter(
        'score_threshold',
        -1.0,
        'Score below which a thing of fewer pixels than doubtful_area is void; 0: every thing is '
        "kept; -1: the variant's own.",
        (-1.0, 1000.0),
        live=True,
    ),
    Parameter(
        'doubtful_area',
        -1,
        'Network pixels from which a thing is kept whatever its score; 0: none is; -1: the '
        "variant's own.",
        (-1, 10_000_000),
        live=True,
    ),
    Parameter(
        'smoothing',
        False,
        'Against flicker: average the classes over the frames of a camera where its picture is '
        'still.',
        live=True,
    ),
    Parameter(
        'tracking',
        False,
        'Give things ids that last over frames: in ~/instance/image and ~/instances.',
        live=True,
    ),
    Parameter(
        'overlay_alpha',
        0.5,
        'Strength of the colours in the overlay: 0 shows only the camera.',
        (0.0, 1.0),
        live=True,
    ),
    Parameter(
        'mask_encoding',
        'coco_rle',
        'How ~/instances carries masks; none leaves them out.',
        choices=('coco_rle', 'bitmap', 'none'),
        live=True,
    ),
    Parameter(
        'panoptic_encoding',
        '16UC1',
        'Encoding of ~/panoptic/image; RViz and Foxglove cannot show 32SC1.',
        choices=('16UC1', '32SC1'),
    ),
    Parameter(
        'compressed_labels',
        False,
        'Publish the label images as PNG too: ~/panoptic/image/compressed and so on.',
    ),
    Parameter(
        'label_info_period', 5.0, 'Seconds between repetitions of ~/label_info.', (0.1, 3600.0)
    ),
)
