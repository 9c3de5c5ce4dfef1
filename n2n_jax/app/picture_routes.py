"""Addresses of the page for pictures: upload, look, denoise, compare, save."""

import asyncio
import io
import secrets
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, Field

from n2n_jax.app import comparing, denoising, views
from n2n_jax.app.job_queue import Job
from n2n_jax.app.pictures import Picture, TooLargeError, free_name
from n2n_jax.app.state import DENOISE, AppState, BusyError, state_of, user_of
from n2n_jax.runtime.errors import UserError

router = APIRouter(prefix='/api', tags=['pictures'])

State = Annotated[AppState, Depends(state_of)]
User = Annotated[str, Depends(user_of)]
Which = Literal['noisy', 'denoised', 'removed', 'error']

_BINARY = {
    'requestBody': {
        'required': True,
        'content': {'application/octet-stream': {'schema': {'type': 'string', 'format': 'binary'}}},
    }
}
_GAIN = 3.0  # how many times removed noise and errors are magnified
_POLL_SECONDS = 0.05  # between looks at a job that is waited for
_CANCEL_SECONDS = 60.0  # within which a job ends after it was canceled: that of one tile
_ZIPPED = 1 << 20  # bytes of a file, sent at a time


class DenoiseBody(BaseModel):
    """How to denoise."""

    model: str = Field('', description='name of a model, see /api/models; empty: it is chosen')
    strength: float = Field(1.0, ge=0, le=1, description='1 denoises, 0 leaves the image as it is')
    tta: bool = Field(False, description='average over 8 flips and rotations, 8 times as slow')


class TrialBody(BaseModel):
    """The noise of a trial."""

    noise: str = Field('gaussian:25', max_length=200, description='such as poisson:30')


@router.get('/models')
def models(state: State) -> list[dict[str, Any]]:
    """Lists the models that there are."""
    return state.models.listed()


@router.post('/pictures', status_code=201, openapi_extra=_BINARY)
async def upload(request: Request, state: State, user: User, name: str) -> dict[str, Any]:
    """Uploads a picture: the body is the file, `name` its name. Refused while you denoise."""
    state.check_idle(user)
    file = await received(request, state)
    try:
        picture = await run_in_threadpool(state.pictures.add, user, name, file)
    finally:
        file.unlink(missing_ok=True)
    return _described(picture)


@router.get('/pictures')
def pictures(state: State, user: User) -> list[dict[str, Any]]:
    """Lists your pictures."""
    return [_described(picture) for picture in state.pictures.of(user)]


@router.get('/pictures/{id}')
def picture(state: State, user: User, id: str) -> dict[str, Any]:
    """Describes a picture: its images, its noise, and the model that this asks for."""
    return _described(state.pictures.find(user, id))


@router.delete('/pictures/{id}', status_code=204)
async def remove(state: State, user: User, id: str) -> None:
    """Deletes a picture and its result, and cancels its jobs."""
    found = state.pictures.find(user, id)
    its = [job for job in state.queue.active(user) if job.about == id]
    for job in its:
        state.queue.cancel(job)
    for job in its:
        await _ended(job, _CANCEL_SECONDS)
    await run_in_threadpool(state.pictures.remove, found)


async def _ended(job: Job, seconds: float) -> None:
    """Waits for the end of a job, for so long at most, without keeping a thread busy."""
    end = time.monotonic() + seconds
    while not job.is_over and time.monotonic() < end:
        await asyncio.sleep(_POLL_SECONDS)


@router.post('/pictures/{id}/denoise', status_code=202)
def denoise(state: State, user: User, id: str, body: DenoiseBody) -> dict[str, Any]:
    """Denoises a picture when its turn comes; returns the job."""
    found = state.pictures.find(user, id)
    if any(job.about == id and job.kind == DENOISE for job in state.queue.active(user)):
        raise BusyError(f'{found.name} is being denoised.')
    request = denoising.Request(body.model, body.strength, body.tta)

    def denoised(job: Job) -> dict[str, str]:
        with found.named_in_errors():
            return {'made_by': denoising.denoise(found, request, state.models, job)}

    return described_job(state, state.queue.submit(user, denoised, DENOISE, id))


@router.get('/jobs')
def jobs(state: State, user: User) -> list[dict[str, Any]]:
    """Lists your jobs, the ended ones for some time."""
    return [described_job(state, job) for job in state.queue.of(user)]


@router.get('/jobs/{id}')
async def job(
    state: State, user: User, id: str, wait: Annotated[float, Query(ge=0, le=30)] = 0
) -> dict[str, Any]:
    """Tells how far a job is, how many come before it, and its result or error.

    `wait`: seconds to wait for its end first.
    """
    found = state.queue.find(user, id)
    await _ended(found, wait)
    return described_job(state, found)


@router.delete('/jobs/{id}')
def cancel(state: State, user: User, id: str) -> dict[str, Any]:
    """Cancels a job."""
    found = state.queue.find(user, id)
    state.queue.cancel(found)
    return described_job(state, found)


@router.get('/pictures/{id}/result')
def result(state: State, user: User, id: str) -> FileResponse:
    """Returns the denoised file, in the format and with the metadata of the upload."""
    found = state.pictures.find(user, id)
    if found.result is None:
        raise UserError(f'{found.name} is not denoised yet.')
    return FileResponse(
        found.result, media_type='application/octet-stream', filename=found.result_name
    )


@router.get('/results.zip')
def results(state: State, user: User) -> StreamingResponse:
    """Returns all denoised files as one archive."""
    done = [picture for picture in state.pictures.of(user) if picture.result]
    if not done:
        raise UserError('No image is denoised yet.')
    headers = {'content-disposition': 'attachment; filename="denoised.zip"'}
    return StreamingResponse(_zipped(done), media_type='application/zip', headers=headers)


@router.get('/pictures/{id}/{which}/{index}/{level}/{column}/{row}.png')
def tile(
    state: State, user: User, id: str, which: Which, index: int, level: int, column: int, row: int
) -> Response:
    """Returns a tile of 512x512 pixels of an image; each level has half the size of the one before.

    `which`: the picture as it is (noisy), its result (denoised), what was removed, magnified
    (removed), or the error against the original that was given (error).
    """
    found = state.pictures.find(user, id)

    def pixels(file: Path) -> Any:
        with found.named_in_errors():
            return found.view(file, index).tile(level, column, row)

    if which == 'noisy':
        return _png(pixels(found.source))
    after = found.result
    if which == 'error' and found.clean is not None:
        return _png(views.error_map(pixels(after or found.source), pixels(found.clean), _GAIN))
    if after is None or which == 'error':
        raise views.OutsideError('There is no such image yet.')
    if which == 'denoised':
        return _png(pixels(after))
    return _png(views.difference(pixels(found.source), pixels(after), _GAIN))


@router.post('/pictures/{id}/original', openapi_extra=_BINARY)
async def original(
    request: Request, state: State, user: User, id: str, name: str
) -> dict[str, Any]:
    """Compares with the clean original, the body: PSNR (dB), SSIM and MSE before and after."""
    found = state.pictures.find(user, id)
    file = await received(request, state)

    def compared() -> dict[str, dict[str, float]]:
        with state.pictures.beside(found, name, file) as (kept, shown_name):
            scores = comparing.with_original(found, kept, shown_name)
            earlier, found.clean = found.clean, kept
            if earlier is not None:
                found.forget_views(earlier)
                earlier.unlink(missing_ok=True)
            return scores

    try:
        scores = await run_in_threadpool(compared)
    finally:
        file.unlink(missing_ok=True)
    return {which: {k: _finite(v) for k, v in s.items()} for which, s in scores.items()}


@router.post('/pictures/{id}/capture', status_code=202, openapi_extra=_BINARY)
async def capture(
    request: Request, state: State, user: User, id: str, name: str, model: str = ''
) -> dict[str, Any]:
    """Compares with a second capture of the scene, the body: the estimate without a clean image.

    Returns the job, whose result has the audit's verdict and the estimates with their intervals.
    """
    found = state.pictures.find(user, id)
    # In its folder, so that it goes with the picture, whatever becomes of the job.
    file = (await received(request, state)).rename(found.folder / f'waits-{secrets.token_hex(4)}')

    def compared(job: Job) -> dict[str, Any]:
        try:
            with state.pictures.beside(found, name, file) as (kept, shown_name):
                named = model or state.models.preferred
                denoiser, _ = denoising.chosen(found, named, state.models)
                return comparing.with_capture(found, kept, shown_name, denoiser, job)
        finally:
            file.unlink(missing_ok=True)

    return described_job(state, state.queue.submit(user, compared, 'capture', id))


@router.post('/pictures/{id}/trial', status_code=202)
def trial(state: State, user: User, id: str, body: TrialBody) -> dict[str, Any]:
    """Adds noise to the middle of a clean picture and removes it by every model and baseline.

    Returns the job, whose result lists them, best first, each with an image to be had from
    /api/jobs/ID/NUMBER.png.
    """
    found = state.pictures.find(user, id)

    def tried(job: Job) -> list[comparing.Trial]:
        with found.named_in_errors():
            return comparing.trial(found, body.noise, state.models, job)

    return described_job(state, state.queue.submit(user, tried, 'trial', id))


@router.get('/jobs/{id}/{number}.png')
def trial_image(state: State, user: User, id: str, number: int) -> Response:
    """Returns an image of a trial."""
    tried = state.queue.find(user, id).result
    if not isinstance(tried, list) or not 0 <= number < len(tried):
        raise views.OutsideError('The job has no such image.')
    return Response(tried[number].image, media_type='image/png')


def described_job(state: AppState, job: Job) -> dict[str, Any]:
    """Returns what the page is told about a job."""
    done = job.result
    if isinstance(done, list):
        done = [
            {'method': tried.method, 'psnr': _finite(tried.psnr), 'ssim': _finite(tried.ssim)}
            for tried in done
        ]
    return {
        'id': job.id,
        'state': job.state,
        'kind': job.kind,
        'picture': job.about,
        'before': state.queue.position(job),
        'share': min(1.0, job.done / job.total) if job.total else 0.0,
        'seconds_left': job.seconds_left(),
        'error': job.error,
        'result': done,
    }


async def received(request: Request, state: AppState) -> Path:
    """Writes the body of a request to a file; raises TooLargeError if it exceeds the limit."""
    most = state.settings.most_bytes
    too_large = TooLargeError(
        f'The upload is larger than {most / (1 << 20):g} MB, the limit of this page: use n2n '
        'denoise for it.'
    )
    length = request.headers.get('content-length', '0')
    expected = int(length) if length.isdecimal() else 0
    if expected > most:
        raise too_large
    file, size = state.pictures.new_upload(expected), 0
    try:
        with file.open('wb') as kept:
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise too_large
                kept.write(part)
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    return file


def _described(picture: Picture) -> dict[str, Any]:
    first, found = picture.frames[0], picture.found
    sizes = [(frame.width, frame.height) for frame in picture.frames]
    return {
        'id': picture.id,
        'name': picture.name,
        'bytes': picture.source.stat().st_size,
        'images': len(picture.frames),
        # Of each image if they differ, else of all.
        'sizes': sizes if len(set(sizes)) > 1 else sizes[:1],
        'width': first.width,
        'height': first.height,
        'channels': first.channels,
        'extra': first.extra,
        'type': first.dtype.name,
        'noise': found.noise,
        'level': found.level * 255,
        'model': '' if found.leave else found.model,
        'doubt': found.doubt,
        'made_by': picture.made_by,
        'result': picture.result_name if picture.result else '',
        'has_clean': picture.clean is not None,
        'tile': views.TILE,
    }


def _png(image_HWC: Any) -> Response:
    return Response(views.png(image_HWC), media_type='image/png')


def _finite(value: float) -> float | None:
    """JSON knows neither infinity nor NaN."""
    return value if abs(value) < float('inf') else None


class _Sent(io.RawIOBase):
    """Keeps what is written until it is taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b''.join(parts)


def _zipped(pictures: Sequence[Picture]) -> Iterator[bytes]:
    """Yields an archive of the results, whose names are made to differ; images barely compress."""
    sent, names = _Sent(), set[str]()
    with zipfile.ZipFile(sent, 'w', zipfile.ZIP_STORED) as archive:
        for picture in pictures:
            if picture.result is None or not picture.result.exists():  # removed meanwhile
                continue
            name = free_name(picture.result_name, names)
            with (
                picture.result.open('rb') as source,
                archive.open(name, 'w', force_zip64=True) as target,
            ):
                while part := source.read(_ZIPPED):
                    target.write(part)
                    yield sent.take()
    yield sent.take()
