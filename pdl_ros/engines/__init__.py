"""How a network is executed on a device.

What is imported here needs no PyTorch; `factory.open_engine` does.
"""

from pdl_ros.engines.devices import on_device, pick_device
from pdl_ros.engines.engine import ENGINES, PRECISIONS, Engine, EngineSettings

__all__ = [
    'ENGINES',
    'PRECISIONS',
    'Engine',
    'EngineSettings',
    'on_device',
    'pick_device',
]
