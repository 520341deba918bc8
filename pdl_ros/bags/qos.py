"""How a topic was offered, as recordings tell it: what `ros2 bag play` publishes with."""

from __future__ import annotations

from typing import Any, NamedTuple

import yaml

_ENDLESS = {'sec': 9223372036, 'nsec': 854775807}


class OfferedQos(NamedTuple):
    """The QoS of a publisher, in the words of rosbag2.

    reliability: `reliable` or `best_effort`. durability: `volatile` or `transient_local`. history:
    `keep_last` or `keep_all`, or `unknown`, as DDS does not tell it to those who record.
    """

    reliability: str = 'reliable'
    durability: str = 'volatile'
    history: str = 'keep_last'
    depth: int = 2

    def as_rosbag2(self) -> dict[str, Any]:
        """Return the fields in the order and the words in which rosbag2 writes them."""
        return {
            'history': self.history,
            'depth': self.depth,
            'reliability': self.reliability,
            'durability': self.durability,
            'deadline': dict(_ENDLESS),
            'lifespan': dict(_ENDLESS),
            'liveliness': 'automatic',
            'liveliness_lease_duration': dict(_ENDLESS),
            'avoid_ros_namespace_conventions': False,
        }


RELIABLE = OfferedQos()
"""The QoS of the node's outputs."""

# As numbers until Humble: those of rmw_qos_*_policy_t.
_WORDS = {
    'reliability': {1: 'reliable', 2: 'best_effort'},
    'durability': {1: 'transient_local', 2: 'volatile'},
    'history': {1: 'keep_last', 2: 'keep_all', 3: 'unknown'},
}
_LONGEST = 1 << 20


def parse_qos(text: str) -> tuple[OfferedQos, ...]:
    """Read QoS as a recording of any version has them; none where they cannot be read."""
    try:
        profiles = yaml.safe_load(text[:_LONGEST]) or []
        return tuple(_parse(profile) for profile in profiles)
    except (yaml.YAMLError, LookupError, TypeError, ValueError, RecursionError):
        return ()


def _parse(profile: Any) -> OfferedQos:
    words = {}
    for name, known in _WORDS.items():
        value = known.get(profile[name], profile[name])
        if value not in known.values():
            raise ValueError(f'{name} is {value!r}')
        words[name] = value
    return OfferedQos(depth=int(profile['depth']), **words)


LATCHED = OfferedQos(durability='transient_local', depth=1)
"""Who subscribes later has the last message as well, as with ~/label_info."""
