"""Benchmarks that users run too, each beside a plain version."""
