"""A transition does all that it should or nothing: what failed can be set right and tried again."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from pdl_ros.network import weight_files
from pdl_ros.node import panoptic_node
from pdl_ros.pipeline import Segmenter

from .inside import Inside, inside

Patch = pytest.MonkeyPatch


def set_to(node: Inside, **values: Any) -> list[str]:
    """Change parameters one by one; return the reasons of refusals."""
    changes = [Parameter(name, value=value) for name, value in values.items()]
    return [result.reason for result in node.node.set_parameters(changes)]


def endpoints(node: Inside) -> list[str]:
    mine = node.node
    return sorted(e.topic_name for e in (*mine.publishers, *mine.subscriptions))


@pytest.fixture
def loaded(monkeypatch: Patch) -> list[Segmenter]:
    """The segmenters that the node has loaded."""
    kept: list[Segmenter] = []
    load = Segmenter.load

    def counted(*arguments: Any) -> Segmenter:
        kept.append(load(*arguments))
        return kept[-1]

    monkeypatch.setattr(panoptic_node.Segmenter, 'load', counted)
    return kept


BAD_QOS = 'qos_overrides./panoptic_node/panoptic/image.publisher.reliability'
WRONG = {
    "Parameter cameras names 'front-left', which cannot be part of a topic": {
        'cameras': ['front', 'front-left']
    },
    "Parameter cameras names '2nd'": {'cameras': ['2nd']},
    f"Parameter {BAD_QOS} is 'sure'; it can be reliable or best_effort": {BAD_QOS: 'sure'},
    'qos_overrides./image.subscription.depth is -1; it must be an integer from 0': {
        'qos_overrides./image.subscription.depth': -1
    },
    'Parameter bond_heartbeat_period is 0.1, but bondpy is not installed': {
        'bond_heartbeat_period': 0.1
    },
}


@pytest.mark.parametrize('sentence', WRONG)
def test_what_cannot_work_is_refused_before_anything_is_made(
    parameters: dict[str, Any], domain: int, loaded: list[Segmenter], sentence: str
) -> None:
    wrong: dict[str, Any] = WRONG[sentence]
    with inside({**parameters, **wrong}, domain) as node:
        before = endpoints(node)
        node.node.trigger_configure()
        assert node.state == 'unconfigured'
        node.wait(lambda: bool(node.errors))
        assert sentence in node.errors[0]
        assert not loaded, 'a network was loaded for a node that cannot be'
        assert endpoints(node) == before
        node.wait(lambda: any(sentence in d.status[0].message for d in node.diagnostics))


def test_cameras_can_be_set_right_after_a_failed_configure(
    parameters: dict[str, Any], domain: int
) -> None:
    with inside({**parameters, 'cameras': ['front', 'front-left']}, domain) as node:
        node.node.trigger_configure()
        assert node.state == 'unconfigured'
        assert 'cannot be part of a topic' in set_to(node, cameras=['front', 'a b'])[0]
        assert set_to(node, cameras=['front', 'front_left']) == ['']
        node.node.trigger_configure()
        assert node.state == 'inactive'
        assert '/panoptic_node/front_left/panoptic/image' in node.topics


@pytest.mark.parametrize('after', [1, 7, 9, 14])  # within a camera, between them, and at label_info
def test_a_configure_that_fails_half_way_takes_back_every_publisher_and_the_network(
    parameters: dict[str, Any],
    domain: int,
    loaded: list[Segmenter],
    monkeypatch: Patch,
    after: int,
) -> None:
    with inside({**parameters, 'cameras': ['left', 'right']}, domain) as node:
        before, timers = endpoints(node), len(list(node.node.timers))
        create, made = node.node.create_publisher, []

        def limited(*arguments: Any, **named: Any) -> Any:
            if len(made) == after:
                raise RuntimeError('out of resources, at ./src/rcl/publisher.c:116')
            made.append(create(*arguments, **named))
            return made[-1]

        monkeypatch.setattr(node.node, 'create_publisher', limited)
        node.node.trigger_configure()
        assert node.state == 'unconfigured'
        assert endpoints(node) == before
        assert len(list(node.node.timers)) == timers
        network = weakref.ref(loaded.pop())
        gc.collect()
        assert network() is None, 'somebody holds on to it'
        node.wait(lambda: bool(node.errors))
        assert node.errors == ['Configure failed, RuntimeError: out of resources.']
        monkeypatch.undo()
        assert set_to(node, cameras=['left'], output_size='network') == ['', '']
        node.node.trigger_configure()
        assert node.state == 'inactive'


@pytest.mark.parametrize('after', [1, 3])  # within a camera, and after the first
def test_an_activate_that_fails_leaves_no_worker_and_no_subscription_and_can_be_tried_again(
    parameters: dict[str, Any], domain: int, monkeypatch: Patch, after: int
) -> None:
    with inside({**parameters, 'cameras': ['left', 'right']}, domain) as node:
        node.node.trigger_configure()
        before = endpoints(node)
        create, made = node.node.create_subscription, []

        def limited(*arguments: Any, **named: Any) -> Any:
            if len(made) == after:
                raise RuntimeError('out of resources')
            made.append(create(*arguments, **named))
            return made[-1]

        for _ in range(2):
            made.clear()
            monkeypatch.setattr(node.node, 'create_subscription', limited)
            node.node.trigger_activate()
            assert node.state == 'inactive'
            assert endpoints(node) == before
            assert not workers()
            monkeypatch.undo()
        node.node.trigger_activate()
        assert node.state == 'active'
        assert len(workers()) == 2
        assert {'/left/image', '/right/image'} <= set(endpoints(node))


def workers() -> list[threading.Thread]:
    """The threads of workers in this process."""
    return [t for t in threading.enumerate() if t.name in ('segmenter', 'publisher')]


def test_what_is_set_while_the_node_configures_is_applied_or_refused_whole(
    parameters: dict[str, Any], domain: int, monkeypatch: Patch
) -> None:
    loads, go_on = threading.Event(), threading.Event()
    load = Segmenter.load

    def slow(*arguments: Any) -> Segmenter:
        loads.set()
        assert go_on.wait(60)
        return load(*arguments)

    monkeypatch.setattr(panoptic_node.Segmenter, 'load', slow)
    with inside(parameters, domain) as node:
        transition = threading.Thread(target=node.node.trigger_configure)
        transition.start()
        assert loads.wait(60)
        assert set_to(node, top_k=7, rate_limit=5.0) == ['', '']
        assert 'takes effect at configure' in set_to(node, transport='compressed')[0]
        both = [Parameter('overlay_alpha', value=0.1), Parameter('rotate', value=90)]
        assert not node.node.set_parameters_atomically(both).successful
        go_on.set()
        transition.join(60)
        assert node.state == 'inactive'
        settings = node.node._settings
        assert settings is not None
        assert (settings.top_k, settings.rate_limit, settings.overlay_alpha) == (7, 5.0, 0.5)
        assert (settings.transport, settings.rotate) == ('raw', 0)
        assert node.node._cameras[''].rate_limit == 5.0
        assert node.node.get_parameter('overlay_alpha').value == 0.5


@pytest.fixture(params=['Jazzy', 'Humble'])
def release(request: pytest.FixtureRequest, monkeypatch: Patch) -> str:
    """With and without the callback that is called after parameters are set."""
    if request.param == 'Humble':
        monkeypatch.delattr(Node, 'add_post_set_parameters_callback')
    return str(request.param)


def test_a_change_that_somebody_else_refuses_is_not_applied_and_one_that_is_set_is(
    parameters: dict[str, Any], domain: int, release: str
) -> None:
    with inside(parameters, domain) as node:
        node.node.trigger_configure()
        refusing = SetParametersResult(successful=False, reason='not today')

        def refuse(changes: list[Any]) -> SetParametersResult:
            return refusing

        for place in ('asked before', 'asked after'):
            callbacks = [node.node._check_parameters, refuse]
            for callback in callbacks[:1]:
                node.node.remove_on_set_parameters_callback(callback)
            # The one that was added last is asked first.
            for callback in callbacks if place == 'asked before' else callbacks[::-1]:
                node.node.add_on_set_parameters_callback(callback)
            assert set_to(node, top_k=7, rate_limit=5.0) == ['not today', 'not today'], place
            node.executor.create_task(lambda: None)
            assert applied(node) == (-1, 0.0), place
            node.node.remove_on_set_parameters_callback(refuse)
        assert set_to(node, top_k=8, rate_limit=6.0) == ['', '']
        node.wait(lambda: applied(node) == (8, 6.0))
        assert node.node._cameras[''].rate_limit == 6.0


def applied(node: Inside) -> tuple[int, float]:
    settings = node.node._settings
    assert settings is not None
    return settings.top_k, settings.rate_limit


def test_weights_tell_their_variant_and_a_named_variant_only_asserts(
    parameters: dict[str, Any], domain: int
) -> None:
    with inside({**parameters, 'variant': ''}, domain) as node:
        node.node.trigger_configure()
        assert node.state == 'inactive'
        assert node.node._segmenter is not None
        assert node.node._segmenter.variant.name == 'scene_tiny'
        node.node.trigger_cleanup()
        assert set_to(node, variant='camvid_efficientnet_lite0') == ['']
        node.node.trigger_configure()
        assert node.state == 'unconfigured'
        node.wait(lambda: bool(node.errors))
        assert "holds weights of variant 'scene_tiny', not of" in node.errors[0]
        assert set_to(node, variant='', weights='scene_tiny') == ['', '']
        node.node.trigger_configure()
        assert node.state == 'inactive', 'the name of a shipped variant is a file of weights, too'


def test_without_variant_and_weights_the_street_model_is_loaded(
    parameters: dict[str, Any], domain: int, monkeypatch: Patch
) -> None:
    asked = []

    def load(*arguments: Any) -> Segmenter:
        asked.append(arguments[0])
        raise RuntimeError('that is enough')

    monkeypatch.setattr(panoptic_node.Segmenter, 'load', load)
    with inside({**parameters, 'variant': '', 'weights': ''}, domain) as node:
        node.node.trigger_configure()
    assert asked == ['street_efficientnet_lite0']
    assert weight_files.find_weights(asked[0]).is_file()


def test_the_librarys_log_is_left_to_itself_after_the_last_node(
    parameters: dict[str, Any], domain: int
) -> None:
    library = logging.getLogger('pdl_ros')
    before = list(library.handlers), library.propagate
    for _ in range(2):
        with inside(parameters, domain) as node:
            assert len(library.handlers) == len(before[0]) + 1
            logging.getLogger('pdl_ros.engines').warning('a word of the engine')
            node.wait(lambda n=node: [m.msg for m in n.log].count('a word of the engine') == 1)
        assert (library.handlers, library.propagate) == before


BONDPY = '''
"""Stands in for bondpy, which is not on PyPI: keeps what is asked of it."""
calls = []


class Bond:
    def __init__(self, node, topic, id, on_broken=None, on_formed=None):
        from std_msgs.msg import Header
        self.pub = node.create_publisher(Header, topic, 1)
        self.sub = node.create_subscription(Header, topic, lambda _: None, 1)
        self.on_broken = on_broken
        calls.append(('new', topic, id))

    def start(self):
        calls.append(('start', self.heartbeat_period))

    def shutdown(self):
        self.sub.destroy()
        self.pub.destroy()
        self.on_broken()
        calls.append(('shutdown',))
'''


@pytest.fixture
def bond_calls(tmp_path: Path, monkeypatch: Patch) -> Iterator[list[tuple[Any, ...]]]:
    (tmp_path / 'bondpy').mkdir()
    (tmp_path / 'bondpy' / '__init__.py').touch()
    (tmp_path / 'bondpy' / 'bondpy.py').write_text(BONDPY)
    monkeypatch.syspath_prepend(tmp_path)
    from bondpy.bondpy import calls  # type: ignore[import-not-found]

    yield calls
    for name in ('bondpy', 'bondpy.bondpy'):
        del sys.modules[name]


def test_the_bond_with_a_manager_holds_from_activate_to_deactivate(
    parameters: dict[str, Any], domain: int, bond_calls: list[tuple[Any, ...]]
) -> None:
    with inside({**parameters, 'bond_heartbeat_period': 0.1}, domain) as node:
        node.node.trigger_configure()
        assert not bond_calls
        inactive = endpoints(node)
        for _ in range(2):
            node.node.trigger_activate()
            assert bond_calls == [('new', 'bond', 'panoptic_node'), ('start', 0.1)]
            node.node.trigger_deactivate()
            assert bond_calls[2:] == [('shutdown',)]
            assert endpoints(node) == inactive
            bond_calls.clear()
        node.node.trigger_activate()
        node.node.trigger_shutdown()
        assert bond_calls[2:] == [('shutdown',)]
        assert not node.errors
