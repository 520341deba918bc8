"""What comes into the node: subscriptions, the frame queue, decoding, geometry."""
