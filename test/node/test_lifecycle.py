"""The node under a lifecycle manager: each state does what it says, and costs what it should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from lifecycle_msgs.srv import ChangeState

from .harness import Harness, running
from .test_topics import message_of


def hears_nothing(node: Harness, rgb: np.ndarray) -> bool:
    before = len(node.received['panoptic/image'])
    node.camera.publish(message_of(rgb, 'rgb8', node.header()))
    node.spin(1.0)
    return len(node.received['panoptic/image']) == before


def test_a_manager_leads_the_node_through_all_its_states(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    with running({**parameters, 'autostart': False}, tmp_path / 'log.txt', domain) as node:
        assert node.state() == 'unconfigured'
        node.wait_for_log('ros2 lifecycle set /panoptic_node configure, then activate')
        assert not node.transition('activate')  # impossible now; refused, and the node lives
        node.wait_for_log(
            'Transition refused: activate is not possible in the state unconfigured, only '
            'configure or shutdown.'
        )
        assert '.c:' not in node.log(), 'places in the sources of ROS are of no use'
        assert node.state() == 'unconfigured'
        assert node.camera.get_subscription_count() == 0
        for _ in range(2):
            assert node.transition('configure')
            assert node.state() == 'inactive'
            assert node.camera.get_subscription_count() == 0
            for _ in range(2):
                assert node.transition('activate')
                node.listen('panoptic/image')
                assert node.send(message_of(rgb, 'rgb8', node.header()))
                assert node.transition('deactivate')
                assert hears_nothing(node, rgb)
                node.deafen('panoptic/image')
            assert node.transition('cleanup')
            assert node.node.count_publishers('/panoptic_node/panoptic/image') == 0
        assert node.transition('shutdown')
        assert node.state() == 'finalized'
        assert node.interrupt() == 0
        assert 'Traceback' not in node.log()


def test_the_node_answers_while_it_loads_its_network(
    parameters: dict[str, Any], tmp_path: Path, domain: int
) -> None:
    big = {
        'variant': 'camvid_efficientnet_lite0',
        'device': 'cpu',
        'autostart': False,
        'warm_up_size': '4096x4000',  # takes a while
    }
    with running(big, tmp_path / 'log.txt', domain) as node:
        assert node.state() == 'unconfigured'
        request = ChangeState.Request()
        request.transition.label = 'configure'
        configured = node.start_call(ChangeState, 'change_state', request)
        seen = set()
        while not configured.done():
            seen.add(node.state())
        assert 'configuring' in seen
        assert configured.result().success


def test_a_live_parameter_changes_the_next_frame_and_the_others_say_what_to_do(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    with running(parameters, tmp_path / 'log.txt', domain) as node:
        node.listen('instances', 'overlay/image')
        image = message_of(rgb, 'rgb8', node.header())
        before = node.send(image)
        assert before['instances'].instances
        assert before['instances'].instances[0].mask_encoding == 'coco_rle'
        changes = {
            'overlay_alpha': 0.0,
            'top_k': 1,
            'mask_encoding': 'none',
            'without_center': 'void',
        }
        assert node.set_parameters(**changes) == [''] * 4
        after = node.send(image)
        assert not after['instances'].instances, 'the best centre is none, as published'
        assert bytes(after['overlay/image'].data) != bytes(before['overlay/image'].data)

        refused = node.set_parameters(variant='cityscapes_r52', nms_kernel=4, outputs=['smell'])
        assert 'variant takes effect at configure: deactivate and clean the node up' in refused[0]
        assert 'nms_kernel is 4; it must be odd' in refused[1]
        assert "outputs is ['smell']; it can be semantic or instance" in refused[2]
        assert 'top_k' in node.set_parameters(top_k=-7)[0]
        assert node.set_parameters(top_k=-1, overlay_alpha=0.5) == ['', '']
        again = node.send(image)
        assert len(again['instances'].instances) == len(before['instances'].instances)

        assert node.set_parameters(outputs=['overlay']) == ['']
        count = len(node.received['instances'])
        node.camera.publish(image)
        node.wait(lambda: len(node.received['overlay/image']) == 4)
        node.spin(0.5)
        assert len(node.received['instances']) == count


def test_control_c_ends_the_node_in_the_middle_of_its_work_without_a_word_of_python(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    with running(parameters, tmp_path / 'log.txt', domain) as node:
        node.listen('panoptic/image')
        node.send(message_of(rgb, 'rgb8', node.header()))
        for _ in range(5):  # in the middle of work
            node.camera.publish(message_of(rgb, 'rgb8', node.header()))
        assert node.interrupt() == 0
        assert 'Traceback' not in node.log()
