"""Which processes each launch file starts: one table for the tests with launch and without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
SCENE = {'variant': 'scene_tiny'}
STREET = {'variant': 'street_efficientnet_lite0'}


class Process(NamedTuple):
    """A process by what makes it work; `rules` are ROS remappings with name and namespace."""

    program: str
    arguments: list[str] = []
    parameters: dict[str, Any] = {}
    rules: dict[str, str] = {}
    log_level: str = ''

    @classmethod
    def parse(cls, command: list[str]) -> Process:
        """Read a command line."""
        plain, ros, inside = [], [], False
        for word in command[1:]:
            inside = inside or word == '--ros-args'
            (ros if inside else plain).append(word)
        parameters: dict[str, Any] = {}
        rules: dict[str, str] = {}
        level = ''
        words = iter(word for word in ros if word != '--ros-args')
        for word in words:
            value = next(words)
            if word == '--params-file':
                text = Path(value).read_text().replace('!!python/tuple', '')  # launch_ros' lists
                for node in yaml.safe_load(text).values():
                    parameters |= node['ros__parameters']
            elif word == '-r':
                source, _, target = value.partition(':=')
                rules[source] = target
            else:
                assert word == '--log-level', command
                level = value
        path = Path(command[0])
        program = f'{path.parent.name}/{path.name}' if path.parent.name else path.name
        return cls(program, plain, parameters, rules, level)

    def command(self, executable: str, folder: Path) -> list[str]:
        """Write a command line, the parameters in a file in `folder`."""
        path = folder / f'{self.rules["__node"]}.yaml'
        path.write_text(yaml.safe_dump({'/**': {'ros__parameters': self.parameters}}))
        ros = ['--params-file', str(path)] if self.parameters else []
        ros += [word for rule in self.rules.items() for word in ('-r', ':='.join(rule))]
        ros += ['--log-level', self.log_level] if self.log_level else []
        return [executable, *self.arguments, '--ros-args', *ros]


class Case(NamedTuple):
    """A launch file, its arguments, and what it starts."""

    file: str
    arguments: dict[str, str]
    processes: list[Process]


def node(parameters: dict[str, Any], namespace: str = '/', **images: str) -> Process:
    """Return the panoptic node; `images`: topic by camera ('image' if there is one)."""
    rules = {'__node': 'panoptic_node', '__ns': namespace}
    for camera, topic in images.items():
        source = 'image' if camera == 'image' else f'{camera}/image'
        rules |= {source: topic, f'{source}/compressed': f'{topic}/compressed'}
    return Process('pdl_ros/panoptic_node', [], parameters, rules, 'info')


def record(topics: list[str], *options: str) -> Process:
    """Return the recorder."""
    mcap = ['--storage', 'mcap', '--storage-preset-profile', 'zstd_fast']
    return Process('ros2', ['bag', 'record', *mcap, *options, '--topics', *topics])


def results(place: str, *images: str) -> list[str]:
    """Return what is recorded of one camera."""
    return [*(f'{place}/{name}' for name in images), f'{place}/instances', f'{place}/timing']


ROBOT = Case(
    'panoptic.launch.py',
    {
        'namespace': 'robot1',
        'image': 'front/image_raw',
        **SCENE,
        'device': 'cpu',
        'engine': 'torch',
    },
    [node({**SCENE, 'device': 'cpu', 'engine': 'torch'}, '/robot1', image='front/image_raw')],
)
CAMERAS = Case(
    'multi_camera.launch.py',
    {'cameras': 'front, left', 'image': '/{camera}/image_raw', **SCENE, 'autostart': 'true'},
    [
        node(
            {**SCENE, 'cameras': ['front', 'left'], 'autostart': True},
            front='/front/image_raw',
            left='/left/image_raw',
        )
    ],
)
DEMO = Case(
    'demo.launch.py',
    {'rviz': 'false'},
    [
        node(SCENE, '/pdl_demo'),
        Process(
            'pdl_ros/demo_camera',
            ['scene', '0', '0', '1'],
            {},
            {'__node': 'camera', '__ns': '/pdl_demo', 'image': '/pdl_demo/image'},
        ),
    ],
)
CASES = {
    'one camera': Case('panoptic.launch.py', {}, [node(STREET)]),
    'a robot with a namespace': ROBOT,
    'weights with a name like a number': Case(
        'panoptic.launch.py', {'weights': '2024'}, [node({'weights': '2024'})]
    ),
    'weights and the variant that they must be of': Case(
        'panoptic.launch.py',
        {'weights': 'a.safetensors', **STREET},
        [node({**STREET, 'weights': 'a.safetensors'})],
    ),
    'compressed images': Case(
        'panoptic.launch.py',
        {'image': '/cam/image', 'transport': 'compressed', 'autostart': 'false'},
        [node({**STREET, 'transport': 'compressed', 'autostart': False}, image='/cam/image')],
    ),
    'several cameras': CAMERAS,
    'several cameras, topic by topic': Case(
        'multi_camera.launch.py',
        {'cameras': 'front,left', 'image': '/a,left/image', 'use_sim_time': 'true'},
        [node({**STREET, 'cameras': ['front', 'left'], 'use_sim_time': True}, front='/a')],
    ),
    'the demo': DEMO,
    'the demo with RViz': Case(
        'demo.launch.py',
        {'source': 'clip', 'namespace': 'show'},
        [
            node(STREET, '/show'),
            DEMO.processes[1]._replace(
                arguments=['clip', '0', '0', '1'],
                rules={'__node': 'camera', '__ns': '/show', 'image': '/show/image'},
            ),
            Process(
                'rviz2/rviz2',
                ['-d', 'panoptic.rviz'],
                {},
                {
                    '__node': 'rviz',
                    '__ns': '/show',
                    '/panoptic_node/overlay/image': '/show/panoptic_node/overlay/image',
                    '/panoptic_node/instance/image': '/show/panoptic_node/instance/image',
                    '/panoptic_node/panoptic/image': '/show/panoptic_node/panoptic/image',
                    '/panoptic_node/points': '/show/panoptic_node/points',
                    '/image': '/show/image',
                },
            ),
        ],
    ),
    'a recording': Case(
        'record.launch.py',
        {'output': 'new_bag', 'record_camera': 'true', 'namespace': '/r', 'image': 'cam/image_raw'},
        [
            node(STREET, '/r', image='cam/image_raw'),
            record(
                [
                    *results('/r/panoptic_node', 'panoptic/image'),
                    *('/r/panoptic_node/label_info', '/diagnostics'),
                    *('/r/cam/image_raw', '/r/cam/camera_info'),
                ],
                *('--output', 'new_bag'),
            ),
        ],
    ),
    'a recording of several cameras as PNG': Case(
        'record.launch.py',
        {'labels': 'png', 'cameras': 'front,left', 'record_images': 'semantic,overlay'},
        [
            node({**STREET, 'cameras': ['front', 'left'], 'compressed_labels': True}),
            record(
                [
                    '/panoptic_node/front/semantic/image/compressed',
                    '/panoptic_node/front/overlay/image',
                    '/panoptic_node/left/semantic/image/compressed',
                    '/panoptic_node/left/overlay/image',
                    *results('/panoptic_node/front'),
                    *results('/panoptic_node/left'),
                    '/panoptic_node/label_info',
                    *(f'/panoptic_node/{name}/label_info' for name in ('front', 'left')),
                    '/diagnostics',
                ]
            ),
        ],
    ),
    'an evaluation': Case(
        'evaluate.launch.py',
        {
            'bag': str(ROOT / 'config'),
            'image': '/cam/image_raw',
            'rate': '0.5',
            'transport': 'compressed',
        },
        [
            node(
                {
                    **STREET,
                    'transport': 'compressed',
                    'policy': 'every_frame',
                    'use_sim_time': True,
                },
                image='/cam/image_raw',
            ),
            record(
                [
                    *results('/panoptic_node', 'panoptic/image'),
                    *('/panoptic_node/label_info', '/diagnostics'),
                ],
                '--use-sim-time',
            ),
            Process(
                'ros2',
                [
                    *('bag', 'play', str(ROOT / 'config'), '--clock', '100', '--rate', '0.5'),
                    *('--delay', '2', '--wait-for-all-acked', '60000'),
                    *('--disable-keyboard-controls', '--qos-profile-overrides-path', 'QOS'),
                    *(
                        '--topics',
                        '/cam/image_raw/compressed',
                        '/cam/camera_info',
                        '/tf',
                        '/tf_static',
                    ),
                ],
            ),
        ],
    ),
}
WRONG = {
    'a choice that does not exist': ('panoptic.launch.py', {'log_level': 'loud'}, 'loud'),
    'a parameter file that does not exist': (
        'panoptic.launch.py',
        {'params_file': 'none.yaml'},
        'params_file: there is no file none.yaml',
    ),
    'no cameras': ('multi_camera.launch.py', {}, 'cameras'),
    'one topic for two cameras': (
        'multi_camera.launch.py',
        {'cameras': 'front,left', 'image': '/a'},
        'one topic for each',
    ),
    'a folder for the bag that exists': (
        'record.launch.py',
        {'output': str(ROOT)},
        'exists already; name a new folder',
    ),
    'an image that is not published': (
        'record.launch.py',
        {'record_images': 'depth'},
        'record_images names depth; there are panoptic',
    ),
    'a bag that does not exist': ('evaluate.launch.py', {'bag': 'none'}, 'bag: there is no none'),
    'a rate that is no number': (
        'evaluate.launch.py',
        {'bag': str(ROOT), 'rate': 'fast'},
        "rate is 'fast'; it must be a number above 0",
    ),
    'a rate of nothing': (
        'evaluate.launch.py',
        {'bag': str(ROOT), 'rate': '0'},
        'must be a number above 0',
    ),
}
