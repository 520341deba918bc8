"""Start the panoptic node on a camera topic.

ros2 launch pdl_ros panoptic.launch.py image:=/front_camera/image_raw
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetLaunchConfiguration
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.utilities import make_namespace_absolute, prefix_namespace

from launch import Action, LaunchContext, LaunchDescription

DEFAULT_VARIANT = 'street_efficientnet_lite0'
NAMES = ('image', 'cameras', 'namespace', 'params_file', 'log_level', 'respawn')
SWITCH = ['true', 'false']

# Arguments that stand for parameters of the node, and what they can be. Only those given override
# the parameter file; the node checks them.
PARAMETERS: dict[str, tuple[str, list[str]]] = {
    'variant': (
        f'Model variant (default: that of weights, or what params_file says, {DEFAULT_VARIANT}).',
        [],
    ),
    'weights': ('Checkpoint file (default: the weights shipped with the variant).', []),
    'device': ('auto, cpu, cuda or cuda:N (default: auto).', []),
    'engine': (
        'What runs the network (default: auto).',
        ['auto', 'torch', 'openvino', 'onnxruntime', 'onnx', 'tensorrt'],
    ),
    'precision': (
        'Numbers that the network computes with (default: auto).',
        ['auto', 'fp32', 'bf16', 'fp16', 'int8'],
    ),
    'transport': ('How images come (default: raw).', ['raw', 'compressed']),
    'policy': (
        'Which frames are segmented: the newest, or every one in turn (default: newest).',
        ['newest', 'every_frame'],
    ),
    'compressed_labels': ('Publish the label images as PNG too (default: false).', SWITCH),
    'autostart': ('Configure and activate at the start (default: true).', SWITCH),
    'use_sim_time': ('Take time from /clock (default: false).', SWITCH),
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; the node is made when their values are known."""
    declare = DeclareLaunchArgument
    return LaunchDescription(
        [
            declare(
                'image',
                default_value='image',
                description='Topic of the camera images. With cameras: one topic for each, '
                'separated by commas, or a pattern like /{camera}/image_raw.',
            ),
            declare(
                'cameras',
                default_value='',
                description='Names of several cameras, separated by commas (default: one camera).',
            ),
            declare('namespace', default_value='', description='Namespace of the node.'),
            declare(
                'params_file',
                default_value='',
                description='YAML file of parameters (default: config/VARIANT.yaml, without '
                'weights of your own).',
            ),
            *(
                declare(name, default_value='', description=text, choices=allow(choices))
                for name, (text, choices) in PARAMETERS.items()
            ),
            declare(
                'log_level',
                default_value='info',
                choices=['debug', 'info', 'warn', 'error', 'fatal'],
                description='Least severity that is logged.',
            ),
            declare(
                'respawn',
                default_value='false',
                choices=SWITCH,
                description='Start the node again 2 s after it died.',
            ),
            OpaqueFunction(function=make_node),
        ]
    )


def allow(choices: list[str]) -> list[str] | None:
    """Return choices with nothing among them: what is not given is the parameter file's."""
    return ['', *choices] if choices else None


def make_node(context: LaunchContext) -> list[Action]:
    """Return the node with the values of this launch, and notes for the files that include this."""
    value = {
        name: LaunchConfiguration(name).perform(context).strip() for name in (*NAMES, *PARAMETERS)
    }
    cameras = [name.strip() for name in value['cameras'].split(',') if name.strip()]
    topics = image_topics(cameras, value['image'])
    given: dict[str, Any] = {}
    if cameras:
        given['cameras'] = ParameterValue(cameras, value_type=list[str])
    for name, (_, choices) in PARAMETERS.items():
        if value[name]:
            # As text: a file of weights may be called 2024.
            text = ParameterValue(value[name], value_type=str)
            given[name] = value[name] == 'true' if choices is SWITCH else text
    if value['params_file'] and not Path(value['params_file']).is_file():
        raise RuntimeError(f'params_file: there is no file {value["params_file"]}')
    # Weights tell their variant: a file for another one must not contradict them.
    own = value['weights'] and not value['variant']
    file = value['params_file'] or ('' if own else variant_file(value['variant']))
    node = Node(
        package='pdl_ros',
        executable='panoptic_node',
        name='panoptic_node',
        namespace=value['namespace'],
        output='screen',
        parameters=[part for part in (file, given) if part],
        # A rule is for one topic alone: compressed images need their own.
        remappings=[
            (source + sibling, topic + sibling)
            for source, topic in topics.items()
            if source != topic
            for sibling in ('', '/compressed')
        ],
        arguments=['--ros-args', '--log-level', value['log_level']],
        respawn=value['respawn'] == 'true',
        respawn_delay=2.0,
    )
    pushed = context.launch_configurations.get('ros_namespace')
    namespace = make_namespace_absolute(prefix_namespace(pushed, value['namespace']) or '')
    resolved = [t if t.startswith('/') else join(namespace, t) for t in topics.values()]
    return [
        SetLaunchConfiguration('panoptic_node', join(namespace, 'panoptic_node')),
        SetLaunchConfiguration('panoptic_inputs', ','.join(resolved)),
        node,
    ]


def image_topics(cameras: list[str], image: str) -> dict[str, str]:
    """Return the topic of the images for each input of the node."""
    if not cameras:
        return {'image': image}
    inputs = [f'{name}/image' for name in cameras]
    if image == 'image':  # not given
        return dict(zip(inputs, inputs, strict=True))
    if '{camera}' in image:
        return {f'{name}/image': image.replace('{camera}', name) for name in cameras}
    topics = [topic.strip() for topic in image.split(',')]
    if len(topics) != len(cameras):
        raise RuntimeError(
            f'{image} does not name the images of {", ".join(cameras)}: give one topic for each, '
            'separated by commas, or a pattern like /{camera}/image_raw'
        )
    return dict(zip(inputs, topics, strict=True))


def variant_file(variant: str) -> str:
    """Return the parameter file that the package has for a variant; empty if it has none."""
    folder = Path(get_package_share_directory('pdl_ros'), 'config')
    path = folder / f'{variant or DEFAULT_VARIANT}.yaml'
    return str(path) if path.is_file() else ''


def join(namespace: str, name: str) -> str:
    """Return the full name of something in an absolute namespace."""
    return f'{namespace.rstrip("/")}/{name}'
