"""How a network is executed on a device."""

from pdl_ros.engines.devices import on_device, pick_device
from pdl_ros.engines.engine import ENGINES, PRECISIONS, Engine, EngineSettings
from pdl_ros.engines.factory import open_engine

__all__ = [
    'ENGINES',
    'PRECISIONS',
    'Engine',
    'EngineSettings',
    'on_device',
    'open_engine',
    'pick_device',
]
