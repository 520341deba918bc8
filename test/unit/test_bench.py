"""The benchmarks compare like with like, and their reports say what they should."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from pdl_ros.bench import bags, engines, flicker, fusion, machine, variants
from pdl_ros.bench.chart import draw_chart
from pdl_ros.bench.fusion import measure, print_results
from pdl_ros.bench.machine import describe, in_own_process, machine_facts
from pdl_ros.bench.published import fuse_as_published
from pdl_ros.bench.streets import street_heads
from pdl_ros.datasets import Sample
from pdl_ros.demo.scene import SceneDataset
from pdl_ros.engines import EngineSettings, pick_device
from pdl_ros.errors import PdlError
from pdl_ros.fusion import FusionSettings, fuse
from pdl_ros.labels import LabelSet
from pdl_ros.network import checkpoints
from pdl_ros.network.cost import multiply_adds
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import get_variant
from pdl_ros.network.weight_files import find_weights
from pdl_ros.pipeline import Segmenter
from pdl_ros.preprocessing import network_size, padded_size
from pdl_ros.runtime.cpu_features import instruction_set, processor

from .test_cli import call

CITYSCAPES = LabelSet.load('cityscapes')


@pytest.mark.parametrize('instances', [0, 25])
def test_the_published_algorithm_beside_which_we_are_timed_gives_our_result(instances):
    heads = street_heads((128, 256), instances, CITYSCAPES)
    settings = FusionSettings(stuff_area=200, objectness='mask_centroid')
    ours = fuse(heads, CITYSCAPES, settings, (128, 256))
    panoptic, found = fuse_as_published(heads, CITYSCAPES, settings, (128, 256))
    # It interpolates in another order, so that a pixel on a border may fall to the other side.
    assert (panoptic == ours.panoptic).float().mean() > 0.9999
    expected = {row['id']: row for row in ours.segments.rows() if row['is_thing']}
    assert {i.panoptic_id for i in found} == expected.keys()
    for instance in found:
        row = expected[instance.panoptic_id]
        assert instance.class_id == row['class_id']
        assert instance.score == pytest.approx(row['score'], abs=0.01)
        assert abs(instance.area - row['area']) <= 3


def test_a_street_has_the_instances_asked_for_and_is_the_same_tomorrow():
    first, again = (street_heads((256, 512), 20, CITYSCAPES, seed=3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first[:3], again[:3], strict=True))
    result = fuse(first, CITYSCAPES, FusionSettings(stuff_area=0), (256, 512))
    assert 15 <= result.segments.is_thing.sum() <= 20  # some are hidden behind others


@pytest.mark.parametrize('method', ['fuse', 'published'])
def test_a_report_has_a_line_for_each_case_and_is_json(method, capsys):
    case, *others = measure((64, 128), method, repeats=2, instances=[3])
    assert [other['instances'] for other in others] == ['noise'][: method == 'fuse']
    assert case['median_ms'] >= case['best_ms'] > 0
    assert case['bytes'] == 64 * 128 * 9 + 16 * 32 * 22 * 4
    case['roofline_ms'] = 1.0
    results = {**machine_facts(), 'cases': [case], 'bandwidth_gb_s': 2.0}
    print_results(json.loads(json.dumps(results)))
    assert '64×128' in capsys.readouterr().out


def test_a_report_names_the_processor_and_the_instructions_that_it_was_measured_with(monkeypatch):
    monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', 'SSE41')
    facts = machine_facts()
    assert facts['instruction_set'] == instruction_set()
    assert f'{processor()} ({instruction_set()}), ' in describe(facts)


def test_a_report_of_device_auto_names_what_auto_is_on_this_machine(monkeypatch):
    assert machine_facts('auto')['device'] == machine.device_name(str(pick_device('auto')))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: f'the GPU of {device}')
    assert machine_facts('auto')['device'] == machine_facts('cuda')['device'] == 'the GPU of cuda:0'
    assert machine_facts('cpu')['device'] == processor()


def test_engines_and_fusion_timed_with_device_auto_keep_what_they_measured(monkeypatch):
    run = {'rows': [[1.0, 2.0, 3.0, 4.0, 10.0]], 'first_ms': 1.0, 'overlapped': None, 'runs': ''}
    monkeypatch.setattr(engines, 'in_own_process', lambda *_: {**run, 'instruction_set': ''})
    asked = []
    monkeypatch.setattr(fusion, 'in_own_process', lambda *case: asked.append(case[-1]) or [])
    monkeypatch.setattr(fusion, 'copy_bandwidth', lambda device: asked.append(device) or 1.0)
    here = pick_device('auto')
    timed = engines.bench_engines(['scene_tiny'], 64, 96, 1, ['torch fp32'], device='auto')
    assert timed['cases'][0]['total_ms'] == [10.0, 10.0]
    fused = fusion.bench_fusion(1, False, 'auto')
    assert timed['device'] == fused['device'] == machine.device_name(str(here))
    assert set(asked) == {str(here)}, 'PyTorch makes no tensor on "auto"'


def test_a_report_of_bags_or_flicker_names_the_device_that_was_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, 'device_name', lambda device: f'that of {device}')
    monkeypatch.setattr(bags, 'in_own_process', lambda *_: {})
    timed = bags.bench_bags(5, 'scene_tiny', 'auto', 'torch', 'fp32', 'raw')
    for number in range(2):
        cv2.imwrite(str(tmp_path / f'{number}.png'), SceneDataset(1, 64, 96)[0].image)
    counted = flicker.bench_flicker([str(tmp_path)], ['scene_tiny'], 2, 'auto')
    assert timed['device'] == counted['device'] == 'that of auto'


@pytest.mark.parametrize('engine', [engines.PUBLISHED, 'torch fp32'])
def test_an_engine_is_timed_stage_by_stage_with_every_frame_counted(engine, capsys):
    done = engines.measure('scene_tiny', engine, 64, 96, 2)
    assert len(done['rows']) == 2
    for *stages, total in done['rows']:
        assert min(stages) >= 0 and stages[1] > 0
        assert sum(stages) <= total
    case = engines.joined('scene_tiny', engine, [done, done])
    assert case['frames'] == 4
    results = {'size': [64, 96], 'cases': [{**case, 'times_published': None}]}
    engines.print_results({**results, **machine_facts()})
    assert 'scene_tiny' in capsys.readouterr().out


def test_an_engine_that_is_not_known_is_refused_before_anything_is_timed():
    with pytest.raises(PdlError, match='auto or torch fp32 or torch bf16'):
        engines.bench_engines(['scene_tiny'], 64, 96, 1, ['cuda'])


def test_what_a_machine_lacks_is_a_row_that_says_why_and_the_others_are_timed(monkeypatch, capsys):
    monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', 'AVX2')
    monkeypatch.setattr(machine, 'instruction_set', lambda runtime='torch': 'avx2')
    monkeypatch.setattr(machine, 'find_spec', lambda name: None if name == 'openvino' else name)
    row = {'rows': [[1.0, 2.0, 3.0, 4.0, 10.0]], 'first_ms': 1.0, 'overlapped': None}

    def timed(module, variant, engine, *how):
        if engine == 'onnxruntime int8':
            raise PdlError('No int8 network.')
        isa = 'amx' if engine == 'onnxruntime fp32' else engines.instruction_set()
        runs = 'onnxruntime fp32' if engine == 'auto' else engine
        return {**row, 'runs': runs, 'instruction_set': isa}

    monkeypatch.setattr(engines, 'in_own_process', timed)
    results = engines.bench_engines(['scene_tiny'], 64, 96, 1)
    cases = {case['engine']: case for case in results['cases']}
    assert list(cases) == list(engines.ENGINES)
    whys = {name: case['why_not'] for name, case in cases.items() if 'why_not' in case}
    assert whys == {
        'torch bf16': 'no bf16 instructions in avx2',
        **dict.fromkeys(('openvino fp32', 'openvino bf16', 'openvino int8'), 'no package openvino'),
        'onnxruntime int8': 'No int8 network.',
    }
    assert cases['auto']['runs'] == 'onnxruntime fp32'
    engines.print_results(json.loads(json.dumps(results)))
    printed = capsys.readouterr().out
    assert 'torch bf16: not timed: no bf16 instructions in avx2' in printed
    assert 'auto = onnxruntime fp32' in printed and 'onnxruntime fp32 (amx)' in printed
    # What is asked for by name is tried.
    (case,) = engines.bench_engines(['scene_tiny'], 64, 96, 1, ['openvino bf16'])['cases']
    assert case['total_ms'] == [10.0, 10.0]


def test_a_case_that_cannot_be_run_says_why_in_our_own_sentence():
    with pytest.raises(PdlError, match=r"^The engine is 'abacus'"):
        in_own_process('pdl_ros.bench.engines', 'scene_tiny', 'abacus', 64, 96, 1, 'cpu')


def test_every_engine_that_is_benchmarked_by_itself_opens_on_this_machine():
    for engine in machine.possible_engines(engines.ENGINES):
        name, _, precision = engine.partition(' ')
        if precision in ('fp32', 'bf16'):  # int8 needs a file
            made = Segmenter.load('scene_tiny', 'cpu', engine=EngineSettings(name, precision))
            assert (made.engine.name, made.engine.precision) == (name, precision)


def test_a_training_is_timed_part_by_part_beside_a_plain_loop(capsys):
    pytest.importorskip('lightning_fabric')
    from pdl_ros.bench import training

    from .drawn import RUN, SETTINGS, VARIANT, Drawn

    class Joined(Drawn):
        """As a mixture has it: sky, or a building, nobody said which."""

        groups = ((0, 1),)

        def __getitem__(self, index: int) -> Sample:
            sample = super().__getitem__(index)
            joined = [s._replace(class_id=7) if s.class_id == 0 else s for s in sample.segments]
            return sample._replace(segments=tuple(joined))

    assert VARIANT.label_set.num_classes == 7
    results = training.bench_training(VARIANT, Joined(), SETTINGS, RUN, steps=1)
    assert min(results['step_ms'].values()) >= 0
    assert min(results['crop_ms'].values()) > 0
    seconds = sum(results['step_ms'].values()) / 1e3
    assert results['crops_per_s'] == pytest.approx(SETTINGS.batch_size / seconds)
    assert results['plain_crops_per_s'] > 0
    training.print_results(json.loads(json.dumps(results)))
    said = capsys.readouterr().out
    for words in ('waiting for crops', 'backward', 'targets', 'a plain loop'):
        assert words in said


def test_a_recording_is_timed_beside_the_bare_pipeline(monkeypatch, capsys):
    monkeypatch.setattr(bags, 'SIZES', ((64, 96),))
    results = bags.bench_bags(6, 'scene_tiny', 'cpu', 'torch', 'fp32', 'jpeg')
    case = results['sizes']['96x64']
    assert (case['engine'], case['batch']) == ('torch fp32', 1)
    assert case['pipeline_fps'] > 0 and min(case['memory_mb']) > 50
    for way in ('raw labels', 'PNG labels'):
        assert case['bag_run'][way]['fps'] > 0 < case['bag_run'][way]['of_pipeline']
    json.dumps(results)
    bags.print_results(results)
    assert '96x64' in capsys.readouterr().out


def test_the_command_line_lists_the_benchmarks():
    done = subprocess.run(
        [sys.executable, '-m', 'pdl_ros.cli', 'bench', '--help'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert 'fusion' in done.stdout


def test_a_chart_shows_every_engine_of_every_report(tmp_path):
    reports = []
    for number in range(2):
        reports.append(tmp_path / f'{number}.json')
        cases = [
            {
                'variant': f'v{number}',
                'engine': engine,
                **{f'{stage}_ms': [2.0, 3.0] for stage in ('preprocess', 'network', 'fusion')},
                'total_ms': [6.0, 9.0],
                'times_published': times,
            }
            for engine, times in ((engines.PUBLISHED, 1.0), ('torch bf16', 4.0))
        ]
        report = {'size': [4, 8], 'processor': 'a', 'threads': 2, 'cases': cases}
        reports[-1].write_text(json.dumps(report))
    draw_chart(reports, tmp_path / 'chart.png')
    one, two = (tmp_path / name for name in ('one.png', 'chart.png'))
    draw_chart(reports[:1], one)
    wide, narrow = cv2.imread(str(two)), cv2.imread(str(one))
    assert wide.shape[0] == narrow.shape[0]
    assert wide.shape[1] == pytest.approx(2 * narrow.shape[1], abs=2)
    assert (wide < 200).any(2).mean() > 0.05  # bars and words


def test_a_chart_leaves_out_what_ran_on_more_than_its_instruction_set(tmp_path):
    """ONNX Runtime obeys no limit, so its time would not be that of a robot with AVX2."""
    times = {f'{stage}_ms': [2.0, 3.0] for stage in ('preprocess', 'network', 'fusion', 'total')}
    obeys = {'variant': 'v', 'engine': 'torch fp32', 'instruction_set': 'avx2', **times}
    other = {**obeys, 'engine': 'onnxruntime fp32', 'instruction_set': 'amx'}
    report = {'size': [4, 8], 'processor': 'a', 'instruction_set': 'avx2', 'threads': 2}
    pictures = []
    for number, cases in enumerate(([obeys], [obeys, other])):
        file, picture = tmp_path / f'{number}.json', tmp_path / f'{number}.png'
        file.write_text(json.dumps({**report, 'cases': cases}))
        draw_chart([file], picture)
        pictures.append(cv2.imread(str(picture)))
    assert np.array_equal(*pictures)


HEAD = '{"size": [1, 2], "processor": "a", "threads": 1, "cases": '


@pytest.mark.parametrize(
    'text',
    [
        *('', '[]', '{"size": [1, 2]}', '{"size": 3, "cases": []}', '[' * 100_000, 'ÿ'),
        *(
            HEAD + cases
            for cases in ('[]}', '[{"variant": "v"}]}', '[{"variant": "v", "total_ms": []}]}')
        ),
    ],
    ids=lambda text: text[:80],
)
def test_a_chart_of_something_else_is_refused_in_one_sentence(text, tmp_path):
    report = tmp_path / 'report.json'
    report.write_text(text, encoding='latin-1')
    with pytest.raises(PdlError, match=r'report\.json is no report of `pdl_ros bench engines'):
        draw_chart([report], tmp_path / 'chart.png')
    with pytest.raises(PdlError, match='cannot be read: No such file'):
        draw_chart([tmp_path / 'none.json'], tmp_path / 'chart.png')


def test_an_untrained_network_is_timed_on_a_street_with_instances(monkeypatch):
    variant, fused = get_variant('scene_tiny'), []
    network = PanopticDeepLab(variant).eval()
    monkeypatch.setattr(engines, '_network', lambda name: (network, variant, None))
    monkeypatch.setattr(
        engines,
        'fuse_as_published',
        lambda heads, *rest: fused.append(fuse_as_published(heads, *rest)) or fused[-1],
    )
    found = engines.measure('an_untrained_one', engines.PUBLISHED, 64, 128, 1)
    assert found['rows'][0][2] > 0
    assert all(len(instances) > 3 for _, instances in fused)


def test_a_variant_without_weights_is_timed_with_random_ones():
    network, variant, checkpoint = engines._network('cityscapes_mobilenet_v3_small')
    assert (variant.name, checkpoint) == ('cityscapes_mobilenet_v3_small', None)
    assert network.training is False


def test_variants_are_counted_timed_and_scored_and_a_missing_engine_costs_its_own_cell(
    tmp_path, monkeypatch, capsys
):
    # In this process: starting one for each case takes seconds.
    monkeypatch.setattr(engines, 'in_own_process', lambda _, *case: engines.measure(*case))
    mine = str(shutil.copy(find_weights('scene_tiny'), tmp_path / 'mine.safetensors'))
    streets = SceneDataset(2, 160, 256, first_seed=10_000)
    results = variants.bench_variants([mine], 64, 96, 1, ['torch fp32', 'torch fp16'], streets)
    variants.print_results(json.loads(json.dumps(results)))
    assert 'not timed. ' in capsys.readouterr().out.replace('\n', ' ')
    (case,) = results['cases']
    assert (case['variant'], case['weights']) == ('scene_tiny', mine)
    assert case['multiply_adds'] == sum(case['parts'].values()) > 0
    timed = case['engines']['torch fp32']
    assert 0 < timed['network_ms'] < timed['total_ms']
    assert 'why_not' in case['engines']['torch fp16']
    assert 60 < case['pq'] < 100
    assert 60 < case['miou'] < 100


def test_a_variant_without_weights_is_timed_but_not_scored(monkeypatch):
    monkeypatch.setattr(variants, 'evaluate', None)
    asked = ['camvid_efficientnet_lite0_tiny', 'cityscapes_r52']
    cases = variants.bench_variants(asked, 64, 96, 1, [], SceneDataset(1, 160, 256))['cases']
    assert [case['variant'] for case in cases] == asked
    assert all(case['weights'] == '' and 'pq' not in case for case in cases)


def test_weights_of_another_label_set_than_the_data_are_named_before_anything_is_timed(monkeypatch):
    monkeypatch.setattr(variants, 'in_turns', lambda *_: pytest.fail('was timed'))
    asked = ['cityscapes_r52', 'scene_tiny', 'street_efficientnet_lite0']
    says = "street_efficientnet_lite0 knows label set 'street', the data are in 'scene'"
    with pytest.raises(PdlError, match=says):
        variants.bench_variants(asked, 64, 96, 1, [], SceneDataset(1, 160, 256))


def test_the_data_are_read_in_the_classes_of_what_is_scored_and_not_of_what_is_only_timed(
    monkeypatch,
):
    given = []
    monkeypatch.setattr(variants, 'bench_variants', lambda *what: given.append(what[-1]))
    monkeypatch.setattr(variants, 'print_results', lambda results: None)
    asked = ('--variant', 'cityscapes_r52', '--variant', 'scene_tiny')
    assert call('bench', 'variants', *asked, '--data', 'scene').returncode == 0
    assert given[0].label_set == LabelSet.load('scene')


@pytest.mark.parametrize('command', ['variants', 'training'])
def test_drawn_streets_for_a_network_of_other_classes_are_refused_before_anything_is_timed(
    command, monkeypatch
):
    pytest.importorskip('lightning_fabric')
    monkeypatch.setattr(variants, 'in_turns', lambda *_: pytest.fail('was timed'))
    refused = call('bench', command, '--variant', 'street_efficientnet_lite0', '--data', 'scene')
    assert refused.returncode == 2
    assert refused.stderr.startswith("pdl_ros: scene is in the classes of label set 'scene'")


@pytest.mark.parametrize('edge', ['--height', '--width'])
@pytest.mark.parametrize('command', ['engines', 'variants', 'node', 'start'])
def test_frames_too_small_to_be_segmented_are_refused_by_the_option(command, edge):
    for pixels in (-1, 0, 31):
        refused = call('bench', command, edge, pixels)
        assert refused.returncode == 2
        assert f"Invalid value for '{edge}'" in refused.stderr


def test_the_variants_for_small_machines_cost_a_third_of_the_street_network_or_less():
    full, *small = (
        multiply_adds(checkpoints.skeleton(v), *padded_size(network_size(360, 480, v), v))
        for v in map(get_variant, ('street_efficientnet_lite0', *variants.SMALL_MACHINES[1:]))
    )
    assert small
    assert all(cost <= full / 3 for cost in small)
