"""Write the tables of docs/node.md and README.md that the node itself knows best.

    python scripts/node_docs.py            rewrite them
    python scripts/node_docs.py --check    say what has drifted; exit status 1 if something has

A node with everything switched on is configured, activated and asked for its topics, services,
QoS and diagnostics; the parameters are those of the table in the code. Only what each thing means
is written here, and a thing without a meaning, or a meaning without a thing, is an error.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile

from pdl_ros.node.panoptic_node import PanopticNode
from pdl_ros.node.parameters import TABLE

FILES = ('README.md', 'docs/node.md')
EVERYTHING = {'variant': 'scene_tiny', 'device': 'cpu', 'points': 'dense', 'autostart': False,
              'compressed_labels': True}  # fmt: skip
SUBSCRIBED = {
    'image': 'with `transport: raw`: rgb8, bgr8, rgba8, bgra8, their 16-bit kin, mono8, mono16, '
    '8UC1/3/4, bayer (8 and 16 bit), uyvy, yuyv, nv12, nv21, nv24; padded rows and big-endian too; '
    'any size, which may change',
    'image/compressed': 'with `transport: compressed`: JPEG or PNG, decoded in the node',
    'camera_info': 'beside the image: for `~/semantic/camera_info` and `~/points`; the one with '
    "the image's stamp, or the nearest",
    'depth': 'with `points`: 32FC1 metres or 16UC1 millimetres, registered to the image; the one '
    "with the image's stamp, or the nearest where the cameras are not synchronised, at most 50 ms "
    'apart',
}
PUBLISHED = {
    '~/semantic/image': '`mono8`: train id, 255 = unlabelled',
    '~/semantic/camera_info': 'the calibration of the label images: cropped, turned and scaled '
    'with them',
    '~/instance/image': "`16UC1`: 0 = no thing, else a running id, or the track's with `tracking`",
    '~/panoptic/image': '`16UC1` (or `panoptic_encoding`): class × label_divisor + number, 65535 = '
    'void',
    '~/semantic/image/compressed': 'with `compressed_labels`: the same as PNG',
    '~/instance/image/compressed': 'likewise',
    '~/panoptic/image/compressed': 'likewise, 16 bits whatever `panoptic_encoding` is',
    '~/overlay/image': '`rgb8`: colours by class, shades by instance, contours',
    '~/instances': 'things with scores, boxes, masks and tracks; stuff with areas',
    '~/detections': 'things with scores and boxes, where vision_msgs is installed',
    '~/detections/label_info': 'likewise: names of the values of the semantic image',
    '~/points': "with `points`: x y z rgb class_id instance_id, in the depth image's frame",
    '~/timing': 'milliseconds of every stage, frames received and dropped, frames in the pass',
    '~/label_info': 'what the values mean, the same for all cameras; repeated for bags',
    '/diagnostics': 'every second: the keys below',
}
SERVICES = {
    '~/change_state': 'asks for a transition; false when it failed or does not exist now',
    '~/get_state': 'the state, at any time',
    '~/get_available_states': 'all states',
    '~/get_available_transitions': 'the transitions from this state',
    '~/get_transition_graph': 'all transitions',
}
DIAGNOSTICS = {
    'state': 'of the lifecycle',
    'variant': 'the network',
    'engine': 'what runs it',
    'precision': 'of its numbers',
    'device': 'where it runs',
    'device memory (MB)': 'held by PyTorch; with CUDA',
    'topic': 'where images are expected',
    'input rate (Hz)': 'images a second, over the last 5 s',
    'output rate (Hz)': 'results a second, over the last 5 s',
    'latency p50 (ms)': 'from the receipt of an image to its last output: the median of 100 frames',
    'latency p95 (ms)': 'likewise, and one in twenty is slower',
    'frame age (ms)': 'from the stamp of the last frame to its decoding; negative: stamped ahead',
    'frames received': 'since configure, as all that follow',
    'frames processed': 'segmented and published',
    'frames replaced by newer ones': 'while they waited',
    'frames too old': 'by `max_frame_age`',
    'frames over the rate limit': 'by `rate_limit`',
    'frames unreadable': 'or not segmented for another reason; the log has it',
    'frames without depth': 'published without points, while these were wanted',
    'frames lost in transport': 'sent, but not received whole, as far as DDS tells',
    'depth images lost in transport': 'likewise',
}
# Not on every machine: their rows stay as they are where they cannot be seen.
OPTIONAL = ('device memory (MB)', '~/detections', '~/detections/label_info')
MOST_USED = ('variant', 'weights', 'device', 'engine', 'precision', 'cameras', 'transport',
             'image_qos', 'policy', 'output_size', 'tracking', 'points',
             'compressed_labels', 'top_k', 'overlay_alpha')  # fmt: skip
Row = tuple[str | None, ...]


def main() -> int:
    """Rewrite or check the files; return the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition('\n')[0])
    parser.add_argument('--check', action='store_true', help='change nothing')
    parser.add_argument('--root', type=Path, default=Path(__file__).resolve().parents[1])
    arguments = parser.parse_args()
    tables, drifted = tables_of_a_node(), False
    for path in (arguments.root / name for name in FILES):
        old = path.read_text(encoding='utf-8')
        new = re.sub(
            r'(<!-- generated: (\S+) -->\n).*?(<!-- end -->)',
            lambda block: block[1] + table(tables[block[2]], block[0]) + block[3],
            old,
            flags=re.DOTALL,
        )
        drifted |= new != old
        if arguments.check:
            lines = difflib.unified_diff(
                old.splitlines(True), new.splitlines(True), f'{path.name} as it is', 'as it is true'
            )
            sys.stdout.writelines(lines)
        else:
            path.write_text(new, encoding='utf-8')
    if arguments.check and drifted:
        print('The documentation has drifted; run: make shell, then python scripts/node_docs.py')
    return int(arguments.check and drifted)


def tables_of_a_node() -> dict[str, list[Row]]:
    """Return rows by the name of their block, the heading first; ask a real node."""
    rclpy.init()
    overrides = [Parameter(name, value=value) for name, value in EVERYTHING.items()]
    node = PanopticNode(parameter_overrides=overrides)
    subscribed: dict[str, Any] = {}
    for transport in ('raw', 'compressed'):
        node.set_parameters([Parameter('transport', value=transport)])
        node.trigger_configure()
        node.trigger_activate()
        subscribed |= {relative(node, s.topic_name): s for s in node.subscriptions}
        published = {relative(node, p.topic_name): p for p in node.publishers}
        if transport == 'compressed':
            services = dict(services_of(node))
            keys = dict(diagnostics_of(node))
        node.trigger_deactivate()
        node.trigger_cleanup()
    node.destroy_node()
    rclpy.shutdown()
    topic = ('topic', 'type', 'QoS', '')
    return {
        'subscribed': [topic, *topics(subscribed, SUBSCRIBED)],
        'published': [topic, *topics(published, PUBLISHED)],
        'services': [
            ('service', 'type', ''),
            *((f'`{n}`', services[n], text) for n, text in described(services, SERVICES)),
        ],
        'diagnostics': [
            ('status', 'key', ''),
            *((keys.get(n), n, text) for n, text in described(keys, DIAGNOSTICS)),
        ],
        'parameters': [
            ('parameter', 'default', 'range', 'changes', ''),
            *((f'`{r.name}`', f'`{r.default!r}`', allowed(r), 'live' if r.live else 'at configure',
               r.description) for r in TABLE),
        ],
        'most-used-parameters': [
            ('parameter', 'default', ''),
            *((f'`{r.name}`', f'`{r.default!r}`', r.description) for r in TABLE
              if r.name in MOST_USED),
        ],
    }  # fmt: skip


def topics(endpoints: dict[str, Any], texts: dict[str, str]) -> Iterator[Row]:
    """Return the rows of publishers or subscriptions by name."""
    own = {n: e for n, e in endpoints.items() if n not in ('/parameter_events', '/rosout')}
    for name, text in described(own, texts):
        endpoint = own.get(name)
        if endpoint is None:
            yield f'`{name}`', None, None, text
        else:
            yield f'`{name}`', type_name(endpoint), quality(endpoint.qos_profile), text


def described(things: Iterable[str], texts: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Return names and meanings in the order of the meanings; raise SystemExit where one lacks."""
    unknown = set(things) - set(texts)
    gone = set(texts) - set(things) - set(OPTIONAL)
    if unknown or gone:
        raise SystemExit(
            f'scripts/node_docs.py should say what these are: {", ".join(sorted(unknown)) or "-"}; '
            f'these do not exist any more: {", ".join(sorted(gone)) or "-"}.'
        )
    yield from texts.items()


def table(rows: list[Row], old: str) -> str:
    """Return rows as Markdown; one with an unknown cell stays as it was in `old`."""
    head, *body = rows
    lines = [f'| {" | ".join(map(str, head))} |', '|' + '---|' * len(head)]
    for row in body:
        cells = [cell or '' for cell in row]
        name = cells[0] or f'| {cells[1]} |'
        before = [line for line in old.splitlines() if name in line] if None in row else []
        lines += before or [f'| {" | ".join(cells)} |']
    return '\n'.join([*lines, ''])


def services_of(node: PanopticNode) -> Iterator[tuple[str, str]]:
    """Return name and type of the services that are not those of every node."""
    for name, types in node.get_service_names_and_types_by_node(
        node.get_name(), node.get_namespace()
    ):
        if not types[0].startswith(('rcl_interfaces/', 'type_description_interfaces/')):
            yield relative(node, name), types[0].replace('/srv/', '/')


def diagnostics_of(node: PanopticNode) -> Iterator[tuple[str, str]]:
    """Return each key of a diagnostics message, and whether it is of the node or a camera."""
    heard: list[DiagnosticArray] = []
    listener, executor = rclpy.create_node('listener'), SingleThreadedExecutor()
    listener.create_subscription(DiagnosticArray, '/diagnostics', heard.append, 10)
    for member in (node, listener):
        executor.add_node(member)
    while not heard:
        executor.spin_once(timeout_sec=1.0)
    executor.shutdown()
    listener.destroy_node()
    for status, owner in zip(heard[-1].status, ('node', 'each camera'), strict=True):
        yield from ((pair.key, owner) for pair in status.values)


def relative(node: PanopticNode, topic: str) -> str:
    """Return a name as the documentation writes it: ~ for the node's own, no slash for a camera's;
    what has the same name in every node keeps its slash.
    """
    name = topic.replace(f'{node.get_fully_qualified_name()}/', '~/', 1)
    return name.lstrip('/') if name.lstrip('/') in SUBSCRIBED else name


def type_name(endpoint: Any) -> str:
    """Return the type of a publisher or subscription, like sensor_msgs/Image."""
    kind = endpoint.msg_type if hasattr(endpoint, 'msg_type') else endpoint.msg_class
    return f'{kind.__module__.partition(".")[0]}/{kind.__name__}'


def quality(qos: QoSProfile) -> str:
    """Say a QoS in a few words."""
    words = [qos.reliability.name.lower().replace('_', ' ')]
    words += ['latched'] if qos.durability == DurabilityPolicy.TRANSIENT_LOCAL else []
    words += [f'last {qos.depth}' if qos.history == HistoryPolicy.KEEP_LAST else 'all']
    return ', '.join(words)


def allowed(row: Any) -> str:
    """Say what values a parameter can have."""
    if row.choices:
        return ', '.join(row.choices)
    return f'{row.limits[0]:g} to {row.limits[1]:.10g}' if row.limits else ''


if __name__ == '__main__':
    sys.exit(main())
