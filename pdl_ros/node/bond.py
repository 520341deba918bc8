"""The bond of nav2, where bondpy is installed: a lifecycle manager learns that the node died."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from pdl_ros.errors import require

# As with nav2's own nodes, it is the manager that times out. (bondpy would raise at the second.)
_NEVER = 86_400.0


def check_bond(period: float) -> None:
    """Raise PdlError where a bond is wanted and cannot be had; a manager would wait for it."""
    require(
        not period or find_spec('bondpy') is not None,
        f'Parameter bond_heartbeat_period is {period:g}, but bondpy is not installed; install it '
        '(ros-$ROS_DISTRO-bondpy) or set the parameter to 0.',
    )


class Bond:
    """A bond on the topic `bond` under the node's name, as nav2's lifecycle manager expects it;
    broken by `close`.
    """

    def __init__(self, node: Any, period: float) -> None:
        from bondpy.bondpy import Bond as BondOfBondpy

        self._node, self._closed = node, False
        self._bond = BondOfBondpy(
            node=node, topic='bond', id=node.get_name(), on_broken=self._broken
        )
        self._bond.heartbeat_period = period
        self._bond.heartbeat_timeout = _NEVER
        self._bond.start()

    def close(self) -> None:
        """Break the bond and leave its topic."""
        self._closed = True
        self._bond.shutdown()
        # It destroys both, but the node still lists them.
        self._node.destroy_subscription(self._bond.sub)
        self._node.destroy_publisher(self._bond.pub)

    def _broken(self) -> None:
        if not self._closed:
            self._node.get_logger().warning(
                'The bond with a lifecycle manager is broken, or none was there to form it with.'
            )
