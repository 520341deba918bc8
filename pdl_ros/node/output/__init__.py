"""What leaves the node: publishers and their messages."""
