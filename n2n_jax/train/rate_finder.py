"""A learning-rate range test: trains while the rate rises, and suggests a rate from the losses.

L. N. Smith, Cyclical Learning Rates for Training Neural Networks (2017), section 3.3; with the
exponential rise and the rules of S. Gugger, How Do You Find A Good Learning Rate (2018):

* steepest: where the smoothed loss falls fastest over the logarithm of the rate;
* turn: the largest rate at which the smoothed loss is within 10 % of its smallest value, behind
  which it rises. A tenth of it is what is recommended, because the place of the steepest fall
  depends more on the noise of the losses.

The training step is that of the config; only its schedule is another.

N steps.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import numpy as np
from scipy import ndimage

from n2n_jax.runtime.config import Config, check
from n2n_jax.runtime.errors import UserError
from n2n_jax.train.prepared import Prepared
from n2n_jax.train.restore import first_state

LEAST_STEPS = 20  # fewer losses are too few for a suggestion

# How a test ended.
COMPLETE, ROSE, NOT_FINITE, STOPPED = 'complete', 'loss rose', 'loss not finite', 'interrupted'

_STOP_ABOVE = 4.0  # multiple of the smallest smoothed loss
_SMOOTH_DECADES = 0.2  # standard deviation of the smoothing of the curve, in decades of the rate
_RUNNING_DECAY = 0.9  # of the running mean that decides about stopping
_FIRST_STEPS = 10  # whose running mean is not to be trusted yet
_NEAR = 1.1  # multiple of the smallest loss that is no rise yet
_FALL = 0.98  # multiple of an earlier loss below which the loss has fallen


@dataclasses.dataclass(frozen=True)
class Measured:
    """The losses of a test.

    Attributes:
      rates_N: the learning rate of each step, ascending.
      losses_N: its loss, finite.
      ended: COMPLETE, ROSE, NOT_FINITE or STOPPED.
    """

    rates_N: np.ndarray
    losses_N: np.ndarray
    ended: str


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """What the losses say about the rate.

    Attributes:
      smoothed_N: the loss, smoothed over the logarithm of the rate.
      steepest: the rate at which it falls fastest; None if it never falls.
      turn: the rate behind which it rises; None if it does not rise.
      recommended: the rate to train with; None if the losses say nothing about it.
      sentences: what was found, for people.
    """

    smoothed_N: np.ndarray
    steepest: float | None
    turn: float | None
    recommended: float | None
    sentences: tuple[str, ...]


def config_of_test(config: Config, low: float, high: float, steps: int) -> Config:
    """Returns a config like `config` whose rate rises from `low` to `high` in `steps` steps.

    Raises:
      UserError: an argument is out of bounds.
    """
    if not 0 < low < high < math.inf:
        raise UserError(
            f'--low {low:g} and --high {high:g}: the rates must be above 0, and the second larger.'
        )
    if steps < LEAST_STEPS:
        raise UserError(f'--steps {steps}: must be at least {LEAST_STEPS}.')
    optim = dataclasses.replace(
        config.optim,
        learning_rate=high,
        schedule=f'exponential:start={low / high!r},end=1',
        warmup_steps=0,
        skip_above=0.0,  # the rise of the loss is what the test is about
    )
    train = dataclasses.replace(config.train, steps=steps, patience=0, distributed='off')
    evaluation = dataclasses.replace(config.eval, every=0, in_loop=False)
    changed = dataclasses.replace(config, optim=optim, train=train, eval=evaluation)
    check(changed)
    return changed


def measure(
    prepared: Prepared, *, show: Callable[[int, float], None], stopped: Callable[[], bool]
) -> Measured:
    """Runs the test: trains until the loss rises, is not finite, or the steps are done.

    Args:
      prepared: the result of `prepare` for a config of `config_of_test`.
      show: called with the number of steps and the running mean of the loss.
      stopped: tells whether the user wants to stop.

    Raises:
      UserError: the weights to start from cannot be read.
    """
    config = prepared.config
    state = first_state(config, prepared.layout)
    rates: list[float] = []
    losses: list[float] = []
    watch = _RunningMean()
    ended, step = COMPLETE, 0
    while step < config.train.steps and ended == COMPLETE:
        num_steps = min(prepared.per_dispatch, config.train.steps - step)
        inputs = prepared.feed.inputs(step, num_steps)
        dispatch = prepared.step_of(num_steps)
        state, metrics = dispatch(state, prepared.feed.constants, inputs)
        found = jax.device_get(metrics)
        of_steps = (found[name].tolist() for name in ('learning_rate', 'loss', 'grad_norm'))
        for rate, loss, grad_norm in zip(*of_steps, strict=True):
            # Where a gradient is not finite, the step fails and its rate is repeated.
            if not (math.isfinite(loss) and math.isfinite(grad_norm)):
                ended = NOT_FINITE
                break
            rates.append(rate)
            losses.append(loss)
            if watch.has_risen(loss):
                ended = ROSE
                break
        step += num_steps
        if ended == COMPLETE and step < config.train.steps and stopped():
            ended = STOPPED
        show(step, watch.mean)
    return Measured(np.array(rates), np.array(losses), ended)


class _RunningMean:
    """The mean of the last losses, which decides whether a test continues.

    Attributes:
      mean: exponentially weighted, corrected for its start.
    """

    def __init__(self) -> None:
        self.mean = self._sum = self._weight = 0.0
        self._count, self._smallest = 0, math.inf

    def has_risen(self, loss: float) -> bool:
        """Adds a loss, and returns whether the mean is far above its smallest value."""
        self._count += 1
        self._sum = _RUNNING_DECAY * self._sum + (1 - _RUNNING_DECAY) * loss
        self._weight = _RUNNING_DECAY * self._weight + (1 - _RUNNING_DECAY)
        self.mean = self._sum / self._weight
        if self._count < _FIRST_STEPS:
            return False
        self._smallest = min(self._smallest, self.mean)
        return self.mean > _STOP_ABOVE * self._smallest


def suggest(measured: Measured) -> Suggestion:
    """Applies the rules at the head of this module to the losses of a test."""
    rates_N, losses_N = measured.rates_N, measured.losses_N
    if len(losses_N) < LEAST_STEPS:
        few = f'{len(losses_N)} losses are too few for a suggestion.'
        if measured.ended != STOPPED:
            few += ' Start at a smaller --low.'
        return Suggestion(losses_N, None, None, None, (few,))
    smoothed_N = _smoothed(measured)
    lowest = int(np.argmin(smoothed_N))
    last = int(np.flatnonzero(smoothed_N <= _NEAR * smoothed_N[lowest])[-1])
    rose = last < len(rates_N) - 1 or measured.ended in (ROSE, NOT_FINITE)
    turn = float(rates_N[last]) if rose else None
    steepest = None
    if smoothed_N[lowest] < _FALL * smoothed_N[: lowest + 1].max():
        slope_N = np.gradient(smoothed_N, np.log(rates_N))
        steepest = float(rates_N[np.argmin(slope_N[: lowest + 1])])
    return _in_words(measured, smoothed_N, steepest, turn)


def _smoothed(measured: Measured) -> np.ndarray:
    """Returns the smoothed losses; their logarithms are averaged, or the last would count most."""
    decades = math.log10(measured.rates_N[-1] / measured.rates_N[0])
    sigma = _SMOOTH_DECADES * (len(measured.rates_N) - 1) / decades
    log_N = np.log(np.maximum(measured.losses_N, np.finfo(np.float32).tiny))
    smoothed_N: np.ndarray = np.exp(ndimage.gaussian_filter1d(log_N, sigma, mode='reflect'))
    return smoothed_N


def _in_words(
    measured: Measured, smoothed_N: np.ndarray, steepest: float | None, turn: float | None
) -> Suggestion:
    first, last = float(measured.rates_N[0]), float(measured.rates_N[-1])
    if steepest is None and turn is None:
        nothing = (
            f'The loss neither falls nor rises at rates of {first:.2g} to {last:.2g}, which says '
            'nothing about the rate: try a larger --high or more --steps.'
        )
        return Suggestion(smoothed_N, None, None, None, (nothing,))
    sentences = []
    if steepest is not None:
        sentences.append(f'The loss falls fastest at a rate of {steepest:.2g}.')
    if turn is not None:
        sentences.append(f'It rises above {turn:.2g}; a tenth of that is {turn / 10:.2g}.')
    else:
        sentences.append(f'It does not rise up to {last:.2g}: a larger --high may find more.')
    wanted = (last if turn is None else turn) / 10
    recommended = float(f'{max(wanted, first):.2g}')
    recommended = min(max(recommended, first), last)  # also after rounding
    if wanted < first:
        sentences.append('That is below --low: start at a smaller rate.')
    return Suggestion(smoothed_N, steepest, turn, recommended, tuple(sentences))
