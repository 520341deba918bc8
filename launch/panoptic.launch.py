"""Start the panoptic node on a camera topic.

ros2 launch pdl_ros panoptic.launch.py image:=/front_camera/image_raw
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

DEFAULT_VARIANT = 'camvid_efficientnet_lite0'

# Arguments that stand for parameters of the node: only those given override the parameter file.
PARAMETERS = {
    'variant': f'Model variant (default: what params_file says, {DEFAULT_VARIANT}).',
    'weights': 'Checkpoint file (default: the weights shipped with the variant).',
    'device': 'auto, cpu, cuda or cuda:N (default: auto).',
}


def generate_launch_description():
    """Declare the arguments; the node is made when their values are known."""
    declare = DeclareLaunchArgument
    return LaunchDescription(
        [
            declare('image', default_value='image', description='Topic of the camera images.'),
            declare('namespace', default_value='', description='Namespace of the node.'),
            *(declare(n, default_value='', description=text) for n, text in PARAMETERS.items()),
            declare(
                'params_file',
                default_value='',
                description='YAML file of parameters (default: config/VARIANT.yaml).',
            ),
            declare(
                'use_sim_time',
                default_value='false',
                choices=['true', 'false'],
                description='Take time from /clock.',
            ),
            declare(
                'log_level',
                default_value='info',
                choices=['debug', 'info', 'warn', 'error', 'fatal'],
                description='Least severity that is logged.',
            ),
            OpaqueFunction(function=make_node),
        ]
    )


def make_node(context):
    """Return the node with the values of this launch."""
    value = {
        name: LaunchConfiguration(name).perform(context)
        for name in ('image', 'namespace', 'params_file', 'use_sim_time', 'log_level', *PARAMETERS)
    }
    given = {name: value[name] for name in PARAMETERS if value[name]}
    files = [value['params_file']] if value['params_file'] else variant_file(value['variant'])
    return [
        Node(
            package='pdl_ros',
            executable='panoptic_node',
            name='panoptic_node',
            namespace=value['namespace'],
            output='screen',
            parameters=[*files, {**given, 'use_sim_time': value['use_sim_time'] == 'true'}],
            remappings=[('image', value['image'])],
            arguments=['--ros-args', '--log-level', value['log_level']],
        )
    ]


def variant_file(variant):
    """Return the parameter file that the package has for a variant, if it has one."""
    folder = Path(get_package_share_directory('pdl_ros'), 'config')
    path = folder / f'{variant or DEFAULT_VARIANT}.yaml'
    return [str(path)] if path.is_file() else []
