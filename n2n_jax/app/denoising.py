"""Denoises a picture for the page, as `n2n denoise` does."""

import dataclasses

from n2n_jax.app.job_queue import Job
from n2n_jax.app.models import OfferedModels
from n2n_jax.app.pictures import Picture
from n2n_jax.denoise import choice, files, jobs
from n2n_jax.denoise.choice import Choice
from n2n_jax.denoise.denoiser import Denoiser


@dataclasses.dataclass(frozen=True)
class Request:
    """What a user asks for.

    Attributes:
      model: name of the model; '' for what suits the picture.
      strength: 1 for the denoised image, 0 for the image as it is, or a blend of both.
      tta: average over the 8 flips and rotations.
    """

    model: str = ''
    strength: float = 1.0
    tta: bool = False


def denoise(picture: Picture, request: Request, models: OfferedModels, job: Job) -> str:
    """Writes the result of a picture; returns what made it, a sentence.

    Raises:
      CanceledError: the job was canceled; an earlier result stays.
      UserError: the picture does not suit the model, or there is no such model.
    """
    denoiser, found = chosen(picture, request.model or models.preferred, models)
    target = picture.folder / f'denoised{picture.source.suffix}'
    options = files.Options(
        tta=request.tta,
        strength=0.0 if found.leave else request.strength,
        existing='replace',
        guessed_range=found.range != (0, 0),
    )
    task = jobs.Job((picture.source,), (None,), target)
    job.total = files.num_pixels(task, options)
    job.advance()
    files.denoise_job(denoiser, task, options, job.advance)
    picture.forget_views(target)
    picture.result = target
    picture.made_by = _in_words(found, request)
    return picture.made_by


def chosen(picture: Picture, model: str, models: OfferedModels) -> tuple[Denoiser, Choice]:
    """Returns the model for a picture, with its range, and why it is this one.

    Args:
      picture: the picture.
      model: its name; '' for what suits the picture.
      models: those that there are.

    Raises:
      UserError: there is no such model.
    """
    if not model:
        found = picture.found
        name = found.model or choice.any_model()  # which is not used: the picture is left as it is
        return found.range.of(models.load(name)), found
    denoiser = models.load(model)
    if not models.is_shipped(model):  # it knows its range
        return denoiser, Choice(model, False, choice.Range(), '', 0.0)
    return picture.found.range.of(denoiser), picture.found._replace(model=model, leave=False)


def _in_words(found: Choice, request: Request) -> str:
    if found.leave:
        return 'Left as it is: it has no noise that can be seen.'
    words = f'Denoised by {found.model}'
    if request.strength != 1:
        words += f', strength {request.strength:.0%}'
    return words + (', averaged over 8 flips and rotations.' if request.tta else '.')
