"""Count the things that the node sees, class by class: in this frame, and in all where it tracks.

python3 count_things.py
python3 count_things.py --ros-args -p min_score:=0.5 -r panoptic_node/instances:=/front/instances
"""

from __future__ import annotations

from collections import Counter, defaultdict

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from pdl_ros.msg import PanopticInstanceArray


class CountThings(Node):
    """Log one line a frame, such as `3 car (17 in all), 1 pedestrian (4 in all)`."""

    def __init__(self) -> None:
        super().__init__('count_things')
        self._min_score = self.declare_parameter('min_score', 0.0)
        self._tracks: dict[str, set[int]] = defaultdict(set)
        self.create_subscription(PanopticInstanceArray, 'panoptic_node/instances', self._count, 2)

    def _count(self, message: PanopticInstanceArray) -> None:
        things = [t for t in message.instances if t.score >= self._min_score.value]
        for thing in things:
            if thing.track_id:  # 0: the node does not track
                self._tracks[thing.class_name].add(thing.track_id)
        counts = Counter(thing.class_name for thing in things)
        self.get_logger().info(', '.join(map(self._line, counts.most_common())) or 'nothing')

    def _line(self, counted: tuple[str, int]) -> str:
        name, count = counted
        tracks = self._tracks[name]
        return f'{count} {name}' + (f' ({len(tracks)} in all)' if tracks else '')


def main() -> None:
    """Count until Ctrl-C."""
    rclpy.init()
    try:
        rclpy.spin(CountThings())
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
