"""Start a camera made of pictures, the panoptic node and RViz: no camera is needed.

ros2 launch pdl_ros demo.launch.py source:=clip
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_prefix, get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetLaunchConfiguration,
    Shutdown,
)
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import Action, LaunchContext, LaunchDescription

SWITCH = ['true', 'false']
ENDLESS, LISTENERS = '0', '1'  # the camera begins when the node is there
NAMES = ('source', 'rate', 'rviz', 'namespace', 'panoptic_node', 'panoptic_inputs')
RVIZ_TOPICS = ('overlay/image', 'instance/image', 'panoptic/image', 'points')


def generate_launch_description() -> LaunchDescription:
    """Declare the camera and RViz; the node's arguments are those of panoptic.launch.py."""
    declare = DeclareLaunchArgument
    panoptic = str(Path(__file__).with_name('panoptic.launch.py'))
    return LaunchDescription(
        [
            declare(
                'source',
                default_value='scene',
                description='scene (a drawn street), clip (a real one), a video, an image or a '
                'folder of images; what ends starts again.',
            ),
            declare(
                'rate', default_value='0', description="Frames a second; 0 is the source's own."
            ),
            declare('rviz', default_value='true', choices=SWITCH, description='Open RViz.'),
            declare(
                'namespace', default_value='pdl_demo', description='Namespace of camera and node.'
            ),
            OpaqueFunction(function=choose_variant),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(panoptic)),
            OpaqueFunction(function=make_camera_and_rviz),
        ]
    )


def choose_variant(context: LaunchContext) -> list[Action]:
    """Take the weights that were trained on the pictures, where the user names none."""
    if LaunchConfiguration('rviz').perform(context) == 'true':
        get_package_prefix('rviz2')  # before anything runs
    given = any(
        context.launch_configurations.get(name) for name in ('variant', 'weights', 'params_file')
    )
    drawn = LaunchConfiguration('source').perform(context) == 'scene'
    return [SetLaunchConfiguration('variant', 'scene_tiny')] if drawn and not given else []


def make_camera_and_rviz(context: LaunchContext) -> list[Action]:
    """Return the camera and, where it is wanted, RViz; the demo ends with each of them."""
    value = {name: LaunchConfiguration(name).perform(context) for name in NAMES}
    config = Path(get_package_share_directory('pdl_ros'), 'config')
    camera = Node(
        package='pdl_ros',
        executable='demo_camera',
        name='camera',
        namespace=value['namespace'],
        output='screen',
        arguments=[value['source'], value['rate'], ENDLESS, LISTENERS],
        remappings=[('image', value['panoptic_inputs'])],
        on_exit=end,
    )
    rviz = Node(
        package='rviz2',
        executable='rviz2',
        name='rviz',
        namespace=value['namespace'],
        arguments=['-d', str(config / 'panoptic.rviz')],
        # The file names the topics of a node without a namespace.
        remappings=[
            *((f'/panoptic_node/{t}', f'{value["panoptic_node"]}/{t}') for t in RVIZ_TOPICS),
            ('/image', value['panoptic_inputs']),
        ],
        on_exit=end,
    )
    return [camera, rviz] if value['rviz'] == 'true' else [camera]


def end(event: ProcessExited, context: LaunchContext) -> list[Action]:
    """End the demo, unless it is just ending."""
    return [] if context.is_shutdown else [Shutdown(reason=f'{event.process_name} ended')]
