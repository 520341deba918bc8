"""A node that times engines says so before, answers meanwhile, and shows which one runs."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from pdl_ros.engines import candidates, choice

from .inside import inside


def test_configure_says_that_it_times_engines_and_the_node_answers_while_it_does(
    parameters: dict[str, Any], domain: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('onnxruntime', reason='needs onnxruntime')
    monkeypatch.setattr(candidates, 'RUNTIMES', choice.RUNTIMES)
    # Not from an earlier run, nor for a later one.
    forgetful = SimpleNamespace(load=lambda facts: None, store=lambda facts, content: None)
    monkeypatch.setattr(choice, 'cache', forgetful)
    begun, go_on, fastest = threading.Event(), threading.Event(), choice.fastest

    def slow(*arguments: Any) -> Any:
        begun.set()
        assert go_on.wait(60)
        return fastest(*arguments)

    monkeypatch.setattr(choice, 'fastest', slow)
    with inside({**parameters, 'engine': 'auto', 'precision': 'fp32'}, domain) as node:
        transition = threading.Thread(target=node.node.trigger_configure)
        transition.start()
        assert begun.wait(60)
        node.wait(lambda: any(line.msg.startswith('Timing once, for') for line in node.log))
        seen = len(node.diagnostics)
        node.wait(lambda: len(node.diagnostics) > seen)
        assert node.state == 'configuring'
        go_on.set()
        transition.join(60)
        node.wait(lambda: any(line.msg.startswith('Configured: ') for line in node.log))
        assert node.node._segmenter is not None
        engine = node.node._segmenter.engine.name
        assert any(f'scene_tiny runs on {engine} fp32' in line.msg for line in node.log)
        assert any(f'on cpu by {engine} in fp32' in line.msg for line in node.log)
        node.wait(lambda: f"key='engine', value='{engine}'" in str(node.diagnostics[-1]))
