"""Panoptic-DeepLab panoptic segmentation for ROS 2; the numerics also work without ROS."""

from pkgutil import extend_path

# The messages (pdl_ros.msg) are built apart from a source checkout; both folders are one package.
__path__ = extend_path(__path__, __name__)

__version__ = '0.1.0'
