"""Labelled images of every kind, as one record type."""

from pdl_ros.datasets.record import PanopticDataset, Sample, Segment, groups_of

__all__ = ['PanopticDataset', 'Sample', 'Segment', 'groups_of']
