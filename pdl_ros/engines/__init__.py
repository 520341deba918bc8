"""How a network is executed on a device."""

from pdl_ros.engines.torch_engine import TorchEngine, pick_device

__all__ = ['TorchEngine', 'pick_device']
