"""The training loop: reproducible, resumable, one log line a step in CSV."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdl_ros.datasets import PanopticDataset, groups_of
from pdl_ros.errors import PdlError
from pdl_ros.network import checkpoints
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import Variant
from pdl_ros.runtime.files import require_writable_file, require_writable_folder
from pdl_ros.training import state
from pdl_ros.training.crops import Crops, load
from pdl_ros.training.distributed import summed, world_size
from pdl_ros.training.learner import Learner
from pdl_ros.training.log import CsvLog
from pdl_ros.training.processes import launch, workers_of
from pdl_ros.training.progress import TrainingProgress
from pdl_ros.training.recipes import write_recipe
from pdl_ros.training.settings import RunSettings, TrainSettings
from pdl_ros.training.start import begin
from pdl_ros.training.stopping import Stopping
from pdl_ros.training.tensorboard import TensorBoard
from pdl_ros.training.validation import Validate, Validation

_LOG = logging.getLogger('pdl_ros.training')
_FILES = ('state.pt', 'log.csv', 'recipe.yaml', 'weights.safetensors')


class Trainer:
    """Train one variant on one data set; state lives in `folder` and a second run goes on where it
    stopped.

    ``folder/state.pt`` is the resumable state, ``folder/log.csv`` the losses of each step,
    ``folder/recipe.yaml`` the whole recipe, ``folder/weights.safetensors`` the averaged weights to
    use. With `validate`, which scores a file of weights (pq, miou, ...),
    ``folder/validation.csv`` are its scores and ``folder/best.safetensors`` the weights of the best
    PQ. `start` is a checkpoint of a whole network, `backbone_weights` one of the encoder. `info`
    goes into the header of all weights, and what the logs hold to `board` too.
    """

    def __init__(
        self,
        variant: Variant,
        dataset: PanopticDataset,
        settings: TrainSettings,
        folder: str | Path,
        backbone_weights: str | Path | None = None,
        *,
        start: str | Path | None = None,
        run: RunSettings | None = None,
        validate: Validate | None = None,
        info: Mapping[str, Any] | None = None,
        board: TensorBoard | None = None,
    ) -> None:
        if dataset.label_set != variant.label_set:
            raise PdlError(
                f'Variant {variant.name!r} has label set {variant.label_set.name!r}, the data '
                f'{dataset.label_set.name!r}; they must be the same.'
            )
        self.variant, self.settings, self.folder = variant, settings, Path(folder)
        self.dataset, self.info = dataset, dict(info or {})
        self.run_settings = run or RunSettings()
        require_writable_folder(self.folder)
        for name in _FILES:
            require_writable_file(self.folder / name)
        self._identity = state.identity(variant, dataset, settings)
        self.fabric = launch(settings, self.run_settings)
        self.board = board if board is not None and self.leads else TensorBoard(None)
        self.validation = Validation(validate, settings.steps, self.run_settings)
        saved = self._read_state()
        torch.manual_seed(settings.seed)
        network = PanopticDeepLab(variant)
        if saved is None:
            begin(network, variant, backbone_weights, start)
        self.learner = Learner(self.fabric, network, variant, settings, groups_of(dataset))
        self.step = 0
        if saved is not None:
            self.step = saved['step']
            self.learner.load_state_dict(saved)
            self.validation.load_state_dict(saved['validation'])
        self._saved_at = time.monotonic()

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.fabric.global_rank == 0

    @property
    def network(self) -> nn.Module:
        """The network that is trained."""
        return self.learner.network

    @property
    def averaged_network(self) -> nn.Module:
        """The network with the averaged weights."""
        return self.learner.average.module

    def run(self, until: int | None = None, quiet: bool = False) -> None:
        """Train to step `until` (default: the end), writing checkpoints on the way.

        SIGINT and SIGTERM are obeyed after the step under way, when the state is written.
        """
        end = self.settings.steps if until is None else min(until, self.settings.steps)
        end = max(end, self.step)
        if self.leads:
            # Also of a training that goes on: it may have got more steps.
            write_recipe(self.settings, self.folder / 'recipe.yaml')
            if self.step == 0:
                self.save_state()
        with Stopping() as stopping:
            self._run(end, quiet, stopping)
            if self.leads:
                self.save_weights(self.validation.header(self.step))
            if stopping.asked and self.leads:
                _LOG.info('Stopped at step %d; the same command goes on from there.', self.step)

    def _run(self, end: int, quiet: bool, stopping: Stopping) -> None:
        """Train and validate to step `end`, to a signal, or to where nothing gets better."""
        steps, batch_size = self.settings.steps, self.settings.batch_size
        silent = quiet or not self.leads
        with (
            TrainingProgress(self.step, steps, batch_size, silent) as progress,
            CsvLog(self._log_file('log.csv'), self.step) as log,
            self.board.after(self.step),
        ):
            self._validate_if_due(progress, stopping)  # a signal may have come before it
            if self.validation.exhausted:
                return
            for batches in self._batches(self.step, end):
                rate = self.learner.rate(self.step)
                losses = self.learner.train_step(self.step, batches)
                self.step += 1
                row = {'step': self.step, 'lr': rate, **losses}
                log.write(row)
                self.board.write_step(row)
                progress.update(self.step, losses)
                stopping.asked = self._agreed(stopping.asked)
                if stopping.asked or self.step == end or self._save_is_due():
                    self._save(log)
                if stopping.asked:
                    return
                self._validate_if_due(progress, stopping)
                if self.validation.exhausted:
                    return

    def save_state(self) -> None:
        """Write the resumable state; a crash while writing leaves the last good one."""
        state.save(
            self.folder / 'state.pt',
            {
                'identity': self._identity,
                'step': self.step,
                'validation': self.validation.state_dict(),
                **self.learner.state_dict(),
            },
        )
        self._saved_at = time.monotonic()

    def save_weights(self, info: Mapping[str, Any], path: str | Path | None = None) -> Path:
        """Write the averaged weights as a checkpoint for use; `info` goes into its header."""
        path = Path(path or self.folder / 'weights.safetensors')
        header = {
            'training': {
                'steps': self.step,
                'batch_size': self.settings.batch_size,
                'crop': self.settings.augmentation.crop,
            },
            **self.info,
            **info,
        }
        checkpoints.save(self.averaged_network, self.variant, path, json.loads(json.dumps(header)))
        return path

    def _log_file(self, name: str) -> Path:
        return self.folder / name if self.leads else Path(os.devnull)

    def _agreed(self, asked: int) -> int:
        """Return the number of the signal that any of the processes got, so that all stop alike."""
        if world_size() == 1:
            return asked
        everywhere = summed(torch.tensor(float(asked > 0), device=self.fabric.device))
        return asked or (signal.SIGTERM if everywhere > 0 else 0)

    def _save_is_due(self) -> bool:
        if self.validation.due(self.step) or self.step % self.run_settings.save_steps == 0:
            return True
        return time.monotonic() - self._saved_at >= self.run_settings.save_seconds

    def _save(self, log: CsvLog) -> None:
        if self.leads:
            log.sync()  # what the state says is done must be in the log
            self.board.flush()
            self.save_state()

    def _validate_if_due(self, progress: TrainingProgress, stopping: Stopping) -> None:
        if not self.validation.due(self.step):
            return
        progress.pause()
        if self.leads:
            stopping.immediately = True  # the state is written, and a validation may take long
            self._validate()
            stopping.immediately = False
        if world_size() > 1:
            self.validation.load_state_dict(self.fabric.broadcast(self.validation.state_dict()))
        progress.go_on()

    def _validate(self) -> None:
        """Score the weights, and keep them where they are the best."""
        better = self.validation.score(self.step, self.save_weights({}))
        row = {'step': self.step, **self.validation.scores}
        with CsvLog(self.folder / 'validation.csv', self.step - 1) as log:
            log.write(row)
        self.board.write_scores(row)
        if better and self.run_settings.evaluate_steps:
            self.save_weights(self.validation.header(self.step), self.folder / 'best.safetensors')
        self.save_state()
        _LOG.info('%s', self.validation.describe())
        if self.validation.exhausted:
            _LOG.info(
                'Nothing got better in %d validations; the training ends here.',
                self.validation.without_better,
            )

    def _batches(self, start: int, end: int) -> Iterator[list[dict[str, Tensor]]]:
        """Yield this process's crops of each step, as one batch a pass."""
        rank, world = self.fabric.global_rank, world_size()
        crops = Crops(self.dataset, self.variant, self.settings, start, end, rank, world)
        passes = self.settings.optimizer.accumulate
        device = self.fabric.device
        batches = load(
            crops,
            crops.share // passes,
            workers_of(self.run_settings, device),
            pin=device.type == 'cuda',
        )
        for _ in range(end - start):
            yield [self.fabric.to_device(next(batches)) for _ in range(passes)]

    def _read_state(self) -> dict[str, Any] | None:
        path = self.folder / 'state.pt'
        if not path.is_file():
            return None
        saved = state.load(path, self.fabric.device, self._identity)
        steps, before = self.settings.steps, saved['identity']['recipe']['steps']
        more = '' if before == steps else f' (it was to have {before})'
        _LOG.info('Going on after step %d of %d%s: %s.', saved['step'], steps, more, path)
        return saved
