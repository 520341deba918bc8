"""Where messages come from: the node has ROS's classes, recordings have types of their own."""

from __future__ import annotations

from typing import Any, Protocol


class MessageFactory(Protocol):
    """Make messages of ROS types with the fields that are given, and zeros in the others."""

    def new(self, name: str, /, **fields: Any) -> Any:
        """Return a message of ``package/msg/Name``.

        Fields of bytes are given as `octets` returns them, other lists of numbers as lists.
        """

    def octets(self, data: bytes) -> Any:
        """Return bytes as the field uint8[] of a message holds them: memory that can be written
        to.
        """
