"""Labelled images of every kind, as one record type."""

from pdl_ros.datasets.record import PanopticDataset, Sample, Segment

__all__ = ['PanopticDataset', 'Sample', 'Segment']
