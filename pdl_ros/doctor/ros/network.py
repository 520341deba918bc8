"""How large images get from process to process: middleware, shared memory, buffers, discovery."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from pdl_ros.doctor.child import ProbeError, ask
from pdl_ros.doctor.finding import DOUBTFUL, MISSING, OK, Finding, Section, megabytes
from pdl_ros.node.shared_memory import PROFILE, SEGMENT, configure_shared_memory

_ROUND_TRIP = 'pdl_ros.doctor.ros.round_trip'
_PROFILES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')
_FRAME = 3 * 1024 * 2048  # bytes of a large image
_BUFFER = 8 << 20
"""Bytes that a socket should be able to hold: a large image and a bit."""
_SHOWN = (
    'ROS_AUTOMATIC_DISCOVERY_RANGE', 'ROS_LOCALHOST_ONLY', 'FASTDDS_BUILTIN_TRANSPORTS',
    'RMW_FASTRTPS_PUBLICATION_MODE', 'RMW_FASTRTPS_USE_QOS_FROM_XML',
)  # fmt: skip
_HIDDEN = ('ROS_STATIC_PEERS', 'ROS_DISCOVERY_SERVER', 'CYCLONEDDS_URI', 'ZENOH_SESSION_CONFIG_URI')
_HIGHEST_DOMAIN = 101  # above it the ports meet those that Linux gives to other programs
_GROUP = '239.255.0.1'  # where DDS' participants announce themselves


def network_section(
    rclpy: dict[str, Any],
    environ: Mapping[str, str] = os.environ,
    shared: Path = Path('/dev/shm'),
    proc: Path = Path('/proc'),
) -> Section:
    """Look at the way of images, and send some. rclpy: what the probe of that name answered."""
    settings = dict(environ)
    configure_shared_memory(settings, shared)
    own_profile = str(PROFILE) in (settings.get(name) for name in _PROFILES)
    findings = [
        _middleware(rclpy, environ),
        _profile(rclpy, settings, own_profile, shared),
        _shared_memory(shared),
        _buffers(proc),
        _domain(environ),
        _multicast(),
        *_round_trips(own_profile),
    ]
    return Section('Images between processes', findings)


def _middleware(rclpy: dict[str, Any], environ: Mapping[str, str]) -> Finding:
    used, wanted = rclpy['rmw'], environ.get('RMW_IMPLEMENTATION', '')
    variables = {name: environ[name] for name in _SHOWN if name in environ}
    variables |= {name: 'set' for name in _HIDDEN if environ.get(name)}  # addresses are private
    others = ''.join(f', {name}={value}' for name, value in variables.items())
    data = {'used': used, 'installed': rclpy['rmw_installed'], 'variables': variables}
    if wanted in ('', used):
        return Finding('middleware', f'{used}{others}', data=data)
    advice = (
        f'RMW_IMPLEMENTATION asks for {wanted}, and {used} is what loads: install '
        f'ros-$ROS_DISTRO-{wanted.replace("_", "-")}, or unset the variable.'
    )
    return Finding('middleware', f'{used}, not {wanted}{others}', DOUBTFUL, advice, data)


def _profile(
    rclpy: dict[str, Any], settings: Mapping[str, str], own_profile: bool, shared: Path
) -> Finding:
    name, data = 'profile of Fast DDS', {'own': own_profile}
    if not rclpy['rmw'].startswith('rmw_fastrtps'):
        return Finding(name, f'not used by {rclpy["rmw"]}', data=data)
    if own_profile:
        found = f"pdl_ros' own, with {megabytes(SEGMENT)} of shared memory for what the node sends"
        return Finding(name, found, data=data)
    files = sorted({settings[name] for name in _PROFILES if settings.get(name)})
    lost = [file for file in files if not Path(file).is_file()]
    if lost:
        advice = (
            f'Fast DDS is told to read {lost[0]}, which is not there, so it runs with 512 KB of '
            'shared memory: correct or unset the variables FAST..._DEFAULT_PROFILES_FILE.'
        )
        return Finding(name, f'{lost[0]}: no such file', DOUBTFUL, advice, data)
    if files:
        return Finding(name, f'yours: {", ".join(files)}', data=data)
    if _room(shared) < 2 * SEGMENT:
        return Finding(name, 'none, for want of shared memory', data=data)
    return Finding(name, 'none: your variables or files decide', data=data)


def _shared_memory(shared: Path) -> Finding:
    name = f'shared memory ({shared})'
    try:
        usage = shutil.disk_usage(shared)
    except OSError:
        advice = (
            f'Without {shared} images go through the network stack: start the container with it.'
        )
        return Finding(name, 'not here', DOUBTFUL, advice)
    left = [path.stat().st_size for path in shared.glob('fast*') if path.is_file()]
    found = f'{megabytes(usage.total)}, {megabytes(usage.free)} free'
    found += f', {megabytes(sum(left))} in {len(left)} files of Fast DDS' if left else ''
    data = {'total_bytes': usage.total, 'free_bytes': usage.free, 'fast_dds_bytes': sum(left)}
    if usage.free >= 2 * SEGMENT:
        return Finding(name, found, data=data)
    advice = (
        f'Large images need {megabytes(2 * SEGMENT)} free there, else most are lost on their way: '
        'start the container with --shm-size=1g or --ipc=host, or, where ended processes left '
        'files, run fastdds shm clean.'
    )
    return Finding(name, found, DOUBTFUL, advice, data)


def _room(shared: Path) -> int:
    try:
        return shutil.disk_usage(shared).free
    except OSError:
        return 0


def _buffers(proc: Path) -> Finding:
    name, core = 'network buffers', proc / 'sys' / 'net' / 'core'
    try:
        sizes = {key: int((core / key).read_text()) for key in ('rmem_max', 'wmem_max')}
    except (OSError, ValueError):
        return Finding(name, 'unknown')
    found = ', '.join(f'net.core.{key} {megabytes(size)}' for key, size in sizes.items())
    if sizes['rmem_max'] >= _BUFFER:
        return Finding(name, found, data=sizes)
    advice = (
        f'Images of {megabytes(_FRAME)} from a camera on another computer come in thousands of '
        'packets, of which some are lost: sudo sysctl -w net.core.rmem_max=2147483647 '
        '(cameras on this computer do not need it).'
    )
    return Finding(name, found, DOUBTFUL, advice, sizes)


def _domain(environ: Mapping[str, str]) -> Finding:
    text = environ.get('ROS_DOMAIN_ID', '')
    found = text or '0 (ROS_DOMAIN_ID not set)'
    if not text or (text.isdecimal() and int(text) <= _HIGHEST_DOMAIN):
        return Finding('domain', found, data={'domain': int(text or 0)})
    advice = (
        f'ROS_DOMAIN_ID must be a number from 0 to {_HIGHEST_DOMAIN}, as others have no ports or '
        'ports that Linux gives away; cameras and node must have the same.'
    )
    return Finding('domain', found, DOUBTFUL, advice)


def _multicast() -> Finding:
    """Hear oneself on the group of DDS, on a port of this moment's."""
    try:
        heard = _hears_itself()
        found = 'works' if heard else 'nothing comes back'
    except OSError as error:
        heard, found = False, f'refused: {error.strerror or error}'
    if heard:
        return Finding('multicast', found, OK, data={'works': True})
    advice = (
        'Nodes find each other by multicast, on one computer too: allow it in the firewall or VPN, '
        'or on one computer set ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST (Humble: '
        'ROS_LOCALHOST_ONLY=1) and run ip link set lo multicast on.'
    )
    return Finding('multicast', found, DOUBTFUL, advice, {'works': False})


def _hears_itself() -> bool:
    word = struct.pack('!Qd', os.getpid(), time.time())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(('', 0))
        membership = socket.inet_aton(_GROUP) + socket.inet_aton('0.0.0.0')
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        receiver.settimeout(1.0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)  # not to the wire
            sender.sendto(word, (_GROUP, receiver.getsockname()[1]))
        try:
            return receiver.recv(100) == word
        except TimeoutError:
            return False


def _round_trips(own_profile: bool) -> list[Finding]:
    first = _round_trip('node to subscriber', True)
    if not own_profile or first.level == MISSING:
        return [first]
    return [first, _round_trip('plain driver to node', False)]


def _round_trip(name: str, has_room: bool) -> Finding:
    try:
        answer = ask('receive', int(has_room), module=_ROUND_TRIP, limit=40)
        if answer['met'] and not answer['received']:  # the machine may have been busy
            answer = ask('receive', int(has_room), module=_ROUND_TRIP, limit=40)
    except ProbeError as error:
        advice = 'Nothing can be published or received here; look at the middleware and ROS.'
        return Finding(name, f'failed: {error}', MISSING, advice)
    if not answer['received']:
        what = 'no image arrived' if answer['met'] else 'two processes did not find each other'
        advice = (
            'The node would see no camera: look at the domain, at multicast, at the variables of '
            'the middleware, and whether a firewall or VPN is in the way.'
        )
        return Finding(name, f'{what} within some seconds', MISSING, advice, answer)
    height, width = answer['size']
    found = (
        f'{answer["received"]} of {answer["sent"]} images of {height}×{width} arrived, '
        f'{median(answer["milliseconds"]):.0f} ms on their way'
    )
    if answer['received'] == answer['sent']:
        return Finding(name, found, data=answer)
    advice = (
        'Images are lost on their way: give shared memory, buffers and the profile what they need '
        'as said above.'
        if has_room
        else 'Large images of a driver with the default settings are lost: start it with the '
        'profile of docs/node.md, "Large images and Fast DDS".'
    )
    return Finding(name, found, DOUBTFUL, advice, answer)
