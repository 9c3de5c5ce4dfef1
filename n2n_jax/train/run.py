"""A run in progress: its state, and the operations between its steps."""

import contextlib
import dataclasses
import logging
import time
from pathlib import Path
from typing import Any

import jax

from n2n_jax.evaluate import run_page
from n2n_jax.evaluate.report import Report, origin, record
from n2n_jax.models.weights import weights_hash
from n2n_jax.runtime.atomic_files import write_text
from n2n_jax.runtime.checkpoint import Checkpoints
from n2n_jax.runtime.config import Config, to_saved
from n2n_jax.runtime.errors import UserError
from n2n_jax.runtime.parallel import from_main_process, is_main_process
from n2n_jax.runtime.progress import ProgressLine, duration
from n2n_jax.runtime.workdir import Workdir, provenance
from n2n_jax.train import early_stopping, skipping
from n2n_jax.train.best import keep_best, say_what_ships
from n2n_jax.train.curves import Writer, write_report
from n2n_jax.train.divergence import give_up
from n2n_jax.train.pace import Pace
from n2n_jax.train.prepared import Prepared, placed_schedule
from n2n_jax.train.restore import items
from n2n_jax.train.step import TrainState
from n2n_jax.train.step_profile import StepProfile
from n2n_jax.train.stop_request import StopRequest
from n2n_jax.train.time_spent import TimeSpent
from n2n_jax.train.training_log import TrainingLog

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Output:
    """Where a run writes its results.

    Attributes:
      workdir: its folder.
      checkpoints: the latest checkpoints.
      best: the checkpoint with the best estimate; None if the run does not select.
      writers: writers of its curves.
      profile: the trace of some of its steps.
    """

    workdir: Workdir
    checkpoints: Checkpoints
    best: Checkpoints | None
    writers: list[Writer]
    profile: StepProfile


class Run:
    """The weights of a run at some step, which `advance` trains further.

    Args:
      prepared: data, evaluator and compiled step.
      state: the state to start from.
      output: where to write results.
      progress: the line that shows the step.
      stop_request: tells whether the user wants the run to stop.
      pace: adapts the number of steps to a time limit; None for no limit.

    Attributes:
      step: updates done.
      config: config of the run; a pace changes its number of steps.
    """

    def __init__(
        self,
        prepared: Prepared,
        state: TrainState,
        output: Output,
        *,
        progress: ProgressLine,
        stop_request: StopRequest,
        pace: Pace | None,
    ) -> None:
        self._prepared, self._state, self._output = prepared, state, output
        self._stop_request, self._pace = stop_request, pace
        self.config: Config = prepared.config
        self.step = self._first_step = int(state.step)
        self._training_log = TrainingLog(self.config, output.writers, progress)
        workdir, checkpoints = output.workdir, output.checkpoints
        # Rows decide about evaluating and stopping, which all processes must do together.
        rows = from_main_process(workdir.rows)
        self._was_complete = from_main_process(lambda: workdir.done)
        self._rows: list[dict[str, Any]] = [r for r in rows if r['step'] <= self.step]
        self._evaluated = {row['step'] for row in self._rows}
        self._meta = {**to_saved(self.config), 'provenance': provenance()}
        resumed = checkpoints.last_step is not None
        self._time_spent = TimeSpent(checkpoints.meta(self.step) if resumed else None)
        self._in_flight: list[dict[str, jax.Array]] = []  # metrics of the last dispatches
        self._num_dispatched = 0  # steps of the last dispatch
        self._asked_up_to = self.step - 1
        self._start = time.monotonic()
        if pace is not None:
            pace.start()

    @property
    def complete(self) -> bool:
        """True once all steps are done."""
        return self.step >= self.config.train.steps

    def end_log_interval(self) -> None:
        """Ends an interval of the curves if one ends here; it is written one dispatch later."""
        if self.step > self._first_step and (
            self.step % self.config.train.log_every == 0 or self.complete
        ):
            self._training_log.end_interval(self.step)

    def should_leave(self) -> bool:
        """Checks whether Ctrl-C or the cluster has asked the run to stop."""
        # Asked for every step, in every process: JAX names one step at which all leave.
        asked = [
            self._output.checkpoints.preempted(step)
            for step in range(self._asked_up_to + 1, self.step + 1)
        ]
        self._asked_up_to = self.step
        return self._stop_request.wanted or any(asked)

    def save_is_due(self) -> bool:
        """Checks whether this step needs a checkpoint, by its cadence or for an evaluation."""
        every = self.config.train.checkpoint_every
        due = self.complete or self.step % every == 0 or self._evaluation_step()
        return due and self.step > self._first_step

    def save(self) -> None:
        """Saves the state, unless it is saved already.

        Raises:
          FloatingPointError: the loss of a step so far was not finite.
        """
        if self.step == self._output.checkpoints.last_step:
            return
        self._wait()
        with self._training_log.throughput.pause():
            meta = {**self._meta, **self._time_spent.as_dict()}
            self._output.checkpoints.save(self.step, items(self._state), meta)

    def leave(self) -> None:
        """Waits for the save under way, and logs that the run can be resumed."""
        self._stop_request.heeded = True
        self._output.checkpoints.wait()
        self._training_log.progress.clear()
        _log.info('Stopped and saved at step %d; the same command resumes there.', self.step)

    def evaluation_is_due(self) -> bool:
        """Checks whether this step is to be evaluated and has not been."""
        evaluates = self._prepared.evaluator is not None and self.step > 0
        return evaluates and self._evaluation_step() and self.step not in self._evaluated

    def _evaluation_step(self) -> bool:
        every = self.config.eval.every
        due = self.complete or (every > 0 and self.step % every == 0)
        if self._pace is not None and due and not self.complete and self._evaluated:
            # With a cadence that has just changed, the last evaluation may be very close.
            return self.step - max(self._evaluated) >= every / 2
        return due

    def evaluate(self) -> None:
        """Scores the weights, saves them if they are the best, and adapts the number of steps."""
        self._training_log.rest(self.step)
        self._evaluated.add(self.step)
        state = self._state
        variables = state.variables if state.ema is None else state.ema
        with self._training_log.throughput.pause():
            report = self._score(variables)
            self._record(report, variables)
        if self._pace is not None:
            self._adapt_to_pace(self._pace)

    def _score(self, variables: Any) -> Report:
        assert self._prepared.evaluator is not None
        with contextlib.nullcontext() if self._pace is None else self._pace.evaluating():
            return self._prepared.evaluator(variables, self.step)

    def _record(self, report: Report, variables: Any) -> None:
        """Writes a report of the current step, after a checkpoint if it is the best so far."""
        output = self._output
        if output.best is not None:  # before the row, which marks this evaluation as done
            keep_best(output.best, report, self.step, self._state, self._meta)
        record(report, self.step, output.workdir, origin(self.config, variables))
        self._rows += report.rows  # as results.json has them
        if output.best is not None and output.best.last_step != self.step:
            _log.info('The best estimate is still that of step %d.', output.best.last_step)
        write_report(report, self.step, output.writers)

    def _adapt_to_pace(self, pace: Pace) -> None:
        """Changes the number of steps to as many as fit into the time, and logs that."""
        changed = pace.replanned(self.config, self.step)
        if changed is self.config:
            return
        before, now = self.config.train.steps, changed.train.steps
        _log.info(
            'The run is %s than planned: it will have %d steps instead of %d.',
            'slower' if now < before else 'faster',
            now,
            before,
        )
        self._output.workdir.keep(changed)
        self.config = changed
        self._meta.update(to_saved(changed))
        schedule = placed_schedule(changed, self._prepared.layout)
        self._state = dataclasses.replace(self._state, schedule=schedule)
        self._training_log.progress.end_at(now)

    def early_stop_reason(self) -> str:
        """Returns why the run ends before its last step; '' if it does not."""
        if not self.config.train.patience:
            return ''
        since = [row for row in self._rows if row['step'] > self.config.train.patience_from]
        count, best_step = early_stopping.without_gain(since)
        if count < self.config.train.patience:
            return ''
        return f'no gain in {count} evaluations since step {best_step}'

    def advance(self) -> None:
        """Dispatches the next steps, at most up to the next log, checkpoint or evaluation.

        Raises:
          FloatingPointError: the loss of a step so far was not finite.
        """
        if self.step == self._first_step:
            self._begin()
        num_steps = self._num_dispatched = min(
            self._prepared.per_dispatch, next_stop(self.step, self.config) - self.step
        )
        with self._training_log.throughput.fetching(self._in_flight[-1:]):
            inputs = self._prepared.feed.inputs(self.step, num_steps)
        self._output.profile.before(self.step, self._in_flight)
        with jax.transfer_guard('disallow'):  # no implicit transfers between host and device
            step = self._prepared.step_of(num_steps)
            self._state, metrics = step(self._state, self._prepared.feed.constants, inputs)
        self._training_log.add(metrics)
        self._in_flight = [*self._in_flight[-1:], metrics]
        self.step += num_steps
        self._output.profile.after(self.step, self._in_flight)
        self._write_log()
        # At most two dispatches ahead of the device, so that progress line and Ctrl-C are current.
        jax.block_until_ready(self._in_flight[:-1])
        # At the end of an interval the line is shown with its metrics instead.
        if self.step % self.config.train.log_every and not self.complete:
            self._training_log.show(self.step)

    def _begin(self) -> None:
        """Removes the completion mark of a run that is being extended."""
        if not is_main_process():
            return
        if self._was_complete:
            _log.info(
                'The run was complete at step %d. It is extended to step %d and keeps its '
                'optimizer state; the learning rate follows the schedule of the longer run.',
                self.step,
                self.config.train.steps,
            )
        self._output.workdir.mark_not_done(self.config)

    def _wait(self) -> None:
        """Waits for all steps so far; the device is idle afterwards."""
        self._write_log()
        if bool(self._state.failed):  # the state would be older than `step` says
            self._give_up()
        self._in_flight = []

    def _write_log(self) -> None:
        if not self._training_log.write():
            self._give_up()

    def _give_up(self) -> None:
        output = self._output
        bad_step = int(self._state.step)
        give_up(self.config, bad_step, self.step, output.checkpoints, output.best)

    def finish(self, early: str = '') -> None:
        """Marks the run as complete and logs its result.

        Args:
          early: why the run ends before its last step; '' if it does not.

        Raises:
          FloatingPointError: the loss of the last weights is not finite.
        """
        output = self._output
        self._training_log.progress.clear()
        if early:
            steps = self.config.train.steps
            _log.info(
                'Stopped early at step %d of %d: %s. To continue anyway, set patience to 0.',
                self.step,
                steps,
                early,
            )
        output.checkpoints.wait()
        digest = weights_hash(self._state.variables)
        recent = self._state.recent
        skipped = {} if recent is None else {'skipped_steps': int(recent.num_skipped)}
        trained = self.step > self._first_step
        if trained or not self._was_complete:  # or was it killed before it came to this
            self._check_last_weights()
        # A run that was complete before keeps the command, commit and date of its training.
        meta = (
            {**self._meta, **self._time_spent.as_dict()}
            if trained
            else output.checkpoints.meta(self.step)
        )
        if is_main_process():
            ended = early or 'all steps done'
            done = {'step': self.step, 'ended': ended, 'weights_sha256': digest, **meta}
            output.workdir.mark_done({**done, **skipped})
            _write_page(output.workdir.path)
        _log.info(
            'Trained %d steps in %s. Last weights (not averaged) %s.\nRun: %s',
            self.step - self._first_step,
            duration(time.monotonic() - self._start),
            digest[:16],
            output.workdir.path,
        )
        if skipped:
            said = skipping.said(skipped['skipped_steps'])
            _log.info('The run %s of %d (optim.skip_above).', said, self.step)
        if output.best is not None:
            say_what_ships(output.best.last_step, self._rows)

    def _check_last_weights(self) -> None:
        """Checks the last weights by one more dispatch, whose result is discarded."""
        # A number of steps that is already compiled, if there is one.
        num_steps = self._num_dispatched or self._prepared.per_dispatch
        inputs = self._prepared.feed.inputs(self.step, num_steps)
        step = self._prepared.step_of(num_steps)
        beyond, _ = step(self._state, self._prepared.feed.constants, inputs)
        if bool(beyond.failed) and int(beyond.step) == self.step:
            output = self._output
            give_up(self.config, self.step, self.step, output.checkpoints, output.best)


def next_stop(step: int, config: Config) -> int:
    """Returns the next step with a log, a checkpoint, an evaluation or the end of the run."""
    cadences = [config.train.log_every, config.train.checkpoint_every, config.eval.every]
    stops = [step - step % every + every for every in cadences if every]
    return min([config.train.steps, *stops])


def _write_page(run: Path) -> None:
    """Writes the page of a complete run; a page is no reason for the run to fail."""
    try:
        write_text(run / run_page.FILE, run_page.page(run))
    except (OSError, UserError) as error:
        _log.warning('%s could not be written: %s', run / run_page.FILE, error)
