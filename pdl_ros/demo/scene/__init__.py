"""A drawn street with exact ground truth: what the demo shows, and a tiny network learns."""

from pdl_ros.demo.scene.drawing import MIN_AREA, MIN_SHOWN
from pdl_ros.demo.scene.scene import FPS, Scene, SceneDataset
from pdl_ros.demo.scene.street import BUILDING, CAR, PAVEMENT, PERSON, ROAD, SKY, TREE

__all__ = [
    'BUILDING',
    'CAR',
    'FPS',
    'MIN_AREA',
    'MIN_SHOWN',
    'PAVEMENT',
    'PERSON',
    'ROAD',
    'SKY',
    'TREE',
    'Scene',
    'SceneDataset',
]
