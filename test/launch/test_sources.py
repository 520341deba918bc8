"""What the launch files and the files that they hand out say, read as text."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import rclpy
import yaml

from .cases import CASES, ROOT, WRONG

LAUNCH = sorted((ROOT / 'launch').glob('*.py'))
CONFIG = ROOT / 'config'
TOPICS = {f'{name}/image' for name in ('semantic', 'instance', 'panoptic', 'overlay')}
TOPICS |= {'instances', 'timing', 'label_info', 'points', 'detections'}


@pytest.mark.parametrize('path', LAUNCH, ids=lambda path: path.name)
def test_a_launch_file_needs_nothing_but_launch_and_runs_no_strings(path: Path) -> None:
    allowed = {'launch', 'launch_ros', 'ament_index_python'} | set(sys.stdlib_module_names)
    forbidden = {'subprocess', 'urllib', 'http', 'socket', 'ctypes'}
    for found in ast.walk(ast.parse(path.read_text())):
        if isinstance(found, ast.Import | ast.ImportFrom):
            module = found.module if isinstance(found, ast.ImportFrom) else found.names[0].name
            assert str(module).partition('.')[0] in allowed - forbidden
        if isinstance(found, ast.Name | ast.Attribute):
            name = found.id if isinstance(found, ast.Name) else found.attr
            assert name not in {'eval', 'exec', 'compile', 'system', 'popen', 'PythonExpression'}


def test_every_launch_file_is_in_the_table() -> None:
    assert {case.file for case in CASES.values()} == {path.name for path in LAUNCH}
    assert {file for file, *_ in WRONG.values()} <= {path.name for path in LAUNCH}


def test_rviz_shows_topics_that_the_node_has() -> None:
    shown = yaml.safe_load((CONFIG / 'panoptic.rviz').read_text())['Visualization Manager']
    displays = {d['Name']: d for d in shown['Displays']}
    topics = {name: d['Topic']['Value'] for name, d in displays.items() if 'Topic' in d}
    assert topics.pop('Camera') == '/image'
    assert {topic.removeprefix('/panoptic_node/') for topic in topics.values()} <= TOPICS
    assert displays['Overlay']['Enabled']
    assert displays['Instances']['Enabled']
    assert not displays['Labelled cloud']['Enabled']
    assert 'TF' in displays


def test_the_demo_gives_rviz_the_topics_that_it_shows() -> None:
    text = (CONFIG / 'panoptic.rviz').read_text()
    rules = CASES['the demo with RViz'].processes[-1].rules
    assert set(re.findall(r'Value: (/\S+)', text)) == {rule for rule in rules if '/' in rule}


def test_foxglove_shows_topics_and_fields_that_there_are() -> None:
    layout = json.loads((CONFIG / 'foxglove_layout.json').read_text())
    panels: dict[str, Any] = layout['configById']
    fields = set(re.findall(r'^\w+ (\w+)', (ROOT / 'msg/FrameTiming.msg').read_text(), re.M))
    for name, panel in panels.items():
        if name.startswith('Image!'):
            topic = panel['imageMode']['imageTopic']
            assert topic.removeprefix('/panoptic_node/') in TOPICS
        if name.startswith('Plot!'):
            for path in panel['paths']:
                topic, _, field = path['value'].partition('.')
                assert topic == '/panoptic_node/timing'
                assert field in fields
    assert panels['DiagnosticSummary!diagnostics']['topicToRender'] == '/diagnostics'

    def leaves(part: Any) -> set[str]:
        return {part} if isinstance(part, str) else leaves(part['first']) | leaves(part['second'])

    assert leaves(layout['layout']) == set(panels)


def test_ros_reads_png_from_the_settings_of_image_transport(domain: int) -> None:
    file = CONFIG / 'image_transport' / 'png.yaml'
    context = rclpy.Context()
    rclpy.init(args=['--ros-args', '--params-file', str(file)], context=context, domain_id=domain)
    node = rclpy.create_node(
        'republish', context=context, automatically_declare_parameters_from_overrides=True
    )
    for name in ('out.compressed.format', 'out.format'):
        assert node.get_parameter(name).value == 'png'
    node.destroy_node()
    rclpy.try_shutdown(context=context)
