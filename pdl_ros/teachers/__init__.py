"""Pseudo-labels: what other networks, the teachers, say about pictures."""
