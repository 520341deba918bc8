"""The events of DDS, as far as this rclpy and its middleware have them (Humble to Kilted)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    from rclpy.event_handler import (
        PublisherEventCallbacks,
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )
except ImportError:  # Humble
    from rclpy.qos_event import (
        PublisherEventCallbacks,
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )


def publisher_events(on_match: Callable[[], None] | None) -> PublisherEventCallbacks:
    """Have `on_match` called when subscribers come or go; Humble has no such event."""
    try:
        return PublisherEventCallbacks(matched=(lambda _: on_match()) if on_match else None)
    except TypeError:
        return PublisherEventCallbacks()


def subscribe_with_events(
    create_subscription: Callable[..., Any],
    on_lost: Callable[[int], None],
    on_incompatible: Callable[[], None] | None = None,
) -> Any:
    """Return `create_subscription(event_callbacks=...)`.

    on_lost: called with the number of messages that were sent and did not arrive whole (not those
    that a newer one replaced in the history); never, where the middleware does not tell.
    """
    events: dict[str, Any] = {'message_lost': lambda event: on_lost(event.total_count_change)}
    if on_incompatible is not None:
        events['incompatible_qos'] = lambda _: on_incompatible()
    try:
        return create_subscription(event_callbacks=SubscriptionEventCallbacks(**events))
    except UnsupportedEventTypeError:
        del events['message_lost']
        return create_subscription(event_callbacks=SubscriptionEventCallbacks(**events))
