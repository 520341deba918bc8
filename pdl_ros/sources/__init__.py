"""Frames from pictures, folders, videos and bags: what every command that takes frames opens."""

from pdl_ros.sources.source import STILL_FPS, RecordedFrame, Source, open_source

__all__ = ['STILL_FPS', 'RecordedFrame', 'Source', 'open_source']
