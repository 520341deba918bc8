"""Benchmarks, each beside a plain version; run them with `pdl_ros bench`."""
