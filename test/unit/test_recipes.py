"""Recipes are files that a person edits: what is in them holds, and a mistake is one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet
from pdl_ros.network.variants import VARIANTS, get_variant
from pdl_ros.training.imagenet import imagenet_weights
from pdl_ros.training.recipes import (
    default_recipe,
    load_recipe,
    recipe,
    recipe_for,
    recipe_names,
    write_recipe,
)

STEPS = 'steps: 10\naugmentation: {crop: [64, 96]}\n'


def refused(call) -> str:
    with pytest.raises(PdlError) as error:
        call()
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('name', recipe_names())
def test_every_shipped_recipe_can_be_read_written_and_read_again(name, tmp_path):
    settings = load_recipe(name)
    write_recipe(settings, tmp_path / 'copy.yaml')
    assert load_recipe(tmp_path / 'copy.yaml') == settings


def test_every_variant_has_the_recipe_of_its_weights():
    assert {default_recipe(v) for v in VARIANTS.values()} <= set(recipe_names())
    found = {
        name: default_recipe(get_variant(name))
        for name in ('scene_tiny', 'cityscapes_r52', 'coco_r52_dsconv', 'coco_xception71',
                     'cityscapes_xception65_os32', 'camvid_efficientnet_lite0_small')
    }  # fmt: skip
    assert found == {
        'scene_tiny': 'scene_tiny',
        'cityscapes_r52': 'detectron2_cityscapes',
        'coco_r52_dsconv': 'detectron2_coco',
        'coco_xception71': 'paper_coco',
        'cityscapes_xception65_os32': 'authors_cityscapes_xception65',
        'camvid_efficientnet_lite0_small': 'camvid_efficientnet_lite0_small',
    }


@pytest.mark.parametrize('name', [n for n, v in VARIANTS.items() if v.release == 'pdl_ros'])
def test_a_crop_is_nine_tenths_filled_by_a_picture_of_the_variants_size_or_more(name):
    variant = get_variant(name)
    crop, scales = recipe(variant).augmentation.crop, recipe(variant).augmentation.scales
    assert crop[0] < 1.1 * scales[0] * variant.short_edge
    assert crop[0] > 0.4 * scales[1] * variant.short_edge, 'and shows a good part of it'


def test_own_classes_are_trained_with_the_recipe_of_the_street_weights():
    street = get_variant('street_efficientnet_lite0')
    own = replace(street, label_set=LabelSet.load('camvid'))
    assert 'traffic sign' in recipe_for(street).targets.rare_classes
    assert recipe_for(own).targets.rare_classes == ('pole',)
    assert recipe_for(own, None, ['targets.rare_classes=[car]']).targets.rare_classes == ('car',)
    for asked in ((None, ['targets.rare_classes=[poel]']), ('street_efficientnet_lite0', [])):
        with pytest.raises(
            PdlError, match=r"rare_classes names '(poel|traffic sign)'; the classes"
        ):
            recipe_for(own, *asked)


def test_rare_things_to_paste_that_own_classes_lack_are_left_out_and_stuff_is_never_one():
    street = get_variant('street_efficientnet_lite0')
    assert 'rider' in recipe_for(street).augmentation.paste_rare
    camvid = replace(street, label_set=LabelSet.load('camvid'))
    assert recipe_for(camvid).augmentation.paste_rare == ()
    asked = recipe_for(camvid, None, ['augmentation.paste_rare=[bicyclist]'])
    assert asked.augmentation.paste_rare == ('bicyclist',)
    for name in ('road', 'tram'):
        with pytest.raises(PdlError, match=f"paste_rare names '{name}'; the things are car,"):
            recipe_for(camvid, None, [f'augmentation.paste_rare=[{name}]'])


def test_own_classes_without_one_for_railings_have_none_unless_they_are_asked_for():
    street = get_variant('street_efficientnet_lite0')
    assert recipe_for(street).augmentation.railing > 0
    bare = replace(street, label_set=LabelSet.load('scene'))
    for changes in ([], ['augmentation.color=0.1', 'augmentation.crop=[96,160]']):
        assert recipe_for(bare, None, changes).augmentation.railing == 0
    for asked in (
        (None, ['augmentation.railing=0.5']),
        (
            'street_efficientnet_lite0',
            ['targets.rare_classes=[]', 'augmentation.paste_rare=[]'],
        ),
    ):
        with pytest.raises(PdlError, match="railing_class is 'fence'; the classes of stuff"):
            recipe_for(bare, *asked)
    with pytest.raises(PdlError, match="railing_class is 'car'"):
        recipe_for(street, None, ['augmentation.railing_class=car'])


def test_detectron2s_learning_rate_is_its_own_step_by_step():
    settings = recipe(get_variant('cityscapes_r52'))
    rates = {
        step: settings.optimizer.lr * settings.optimizer.factor(step, settings.steps)
        for step in (0, 1000, 30000, 89999)
    }
    published = {0: 1e-6, 1000: 9.8999e-4, 30000: 6.9425e-4, 89999: 3.48e-8}
    assert rates == pytest.approx(published, rel=2e-3)
    assert (settings.optimizer.name, settings.batch_size) == ('adam', 32)
    assert settings.targets.sigma == 10
    assert settings.augmentation.crop == (512, 1024)


def test_values_are_changed_one_by_one_and_numbers_may_be_written_as_people_do(tmp_path):
    file = tmp_path / 'mine.yaml'
    file.write_text(STEPS)
    changes = ['optimizer.lr=2e-3', 'steps=500', 'augmentation.scales=[0.5, 1]',
               'freeze=[backbone]', 'losses.top_of=sample', 'augmentation.flip=false']  # fmt: skip
    settings = load_recipe(file, changes)
    assert settings.optimizer.lr == 2e-3
    assert (settings.steps, settings.freeze) == (500, ('backbone',))
    assert settings.augmentation.scales == (0.5, 1.0)
    assert settings.augmentation.crop == (64, 96)
    assert settings.augmentation.flip is False
    assert settings.losses.top_of == 'sample'


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        (
            'steps: many\naugmentation: {crop: [64, 96]}',
            'steps is .many.; it must be a whole number',
        ),
        (f'{STEPS}optimizer: {{lrr: 1}}', 'there is no optimizer.lrr; optimizer has name, lr,'),
        (f'{STEPS}speed: 3', 'there is no speed; a recipe has augmentation, steps,'),
        (f'{STEPS}optimizer: {{lr: -1}}', 'optimizer.lr is -1.0; it must be positive'),
        (f'{STEPS}optimizer: 3', 'optimizer is 3; it must be keys and values'),
        (f'{STEPS}seed: true', 'seed is True; it must be a whole number'),
        ('steps: 3', 'augmentation is missing'),
        ('steps: 3\naugmentation: {crop: 64}', r'augmentation.crop is 64; it must be a list of 2'),
        ('- steps', 'is no list of keys and values'),
        ('steps: [', 'is not valid YAML'),
        ('a: !!python/object/apply:os.getcwd []', 'is not valid YAML'),
        ('\0', 'is not valid YAML'),
        (f'{STEPS}# {"x" * 200_000}', 'longer than any recipe'),
    ],
    ids=range(13),
)
def test_a_mistake_in_a_recipe_is_a_sentence_with_the_file_and_the_key(tmp_path, text, says):
    file = tmp_path / 'mine.yaml'
    file.write_text(text)
    with pytest.raises(PdlError, match=says) as error:
        load_recipe(file)
    assert str(file) in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('change', ['steps', '=3', 'a.b.c=3', 'steps.x=3', 'steps=['])
def test_a_change_that_is_none_is_refused_by_its_words(change):
    assert repr(change) in refused(lambda: load_recipe('scene_tiny', [change]))


def test_a_recipe_that_is_not_there_is_told_with_those_that_are(tmp_path):
    said = refused(lambda: load_recipe('nothing'))
    assert 'detectron2_cityscapes' in said
    assert 'No recipe' in refused(lambda: load_recipe(tmp_path / 'nothing.yaml'))


def test_missing_imagenet_weights_are_named():
    assert 'No package carries ImageNet weights of resnet50' in refused(
        lambda: imagenet_weights('resnet50')
    )


def test_a_copy_that_is_a_folder_is_refused(tmp_path):
    Path(tmp_path / 'mine.yaml').mkdir()
    assert 'No recipe' in refused(lambda: load_recipe(tmp_path / 'mine.yaml'))
