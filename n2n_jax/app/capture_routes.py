"""Addresses of the page for captures, trainings, runs and tables in the folder of the page."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from fastapi.responses import FileResponse, HTMLResponse
from pydantic import BaseModel, Field

from n2n_jax.app import picture_routes, programs, trainings
from n2n_jax.app.job_queue import Job
from n2n_jax.app.local_folder import OutsideFolderError
from n2n_jax.app.state import AppState, state_of, user_of
from n2n_jax.app.views import OutsideError
from n2n_jax.evaluate import run_page
from n2n_jax.runtime import web_page
from n2n_jax.runtime.errors import UserError

router = APIRouter(prefix='/api', tags=['captures and runs'])

State = Annotated[AppState, Depends(state_of)]
User = Annotated[str, Depends(user_of)]


class AuditBody(BaseModel):
    """The captures to check."""

    captures: str = Field(description='folder with the captures, below that of the page')
    pattern: str = Field('', max_length=200, description="such as '{scene}_{capture}.tif'")
    single: bool = Field(False, description='each image is a scene of its own')


class TrainBody(AuditBody):
    """What to train."""

    name: str = Field(max_length=100, description='of the new run, a folder below runs/')
    fix: str = Field('', max_length=100, description='what is corrected, such as shift,gain')
    minutes: float = Field(20.0, gt=0, le=60 * 24 * 7)
    start: str = Field('', max_length=500, description='model whose weights it starts from')


class KeepBody(BaseModel):
    """Where uploads are kept as captures."""

    name: str = Field(max_length=100, description='of the new folder, below captures/')


@router.get('/captures')
def captures(state: State) -> dict[str, Any]:
    """Lists the folders with images, with the number of images in each."""
    return {'folder': str(state.folder.path), 'folders': state.folder.with_images()}


@router.post('/captures', status_code=201)
def keep(state: State, user: User, body: KeepBody) -> dict[str, str]:
    """Keeps your uploads as captures, in a folder of this machine."""
    return {'captures': state.trainings.keep_captures(body.name, state.pictures.of(user))}


@router.post('/audits', status_code=202)
def audit(state: State, user: User, body: AuditBody) -> dict[str, Any]:
    """Checks captures: returns the job, whose report is at /api/audits/ID."""
    folder = state.folder.without_links_out(body.captures)

    def audited(job: Job) -> dict[str, Any]:
        page = state.pictures.new_report()
        options = [f'--pattern={body.pattern}'] if body.pattern else []
        options += ['--single'] if body.single else []
        ended = programs.run(['audit', str(folder), f'--html={page}', '--force', *options], job)
        if not page.stat().st_size:
            page.unlink()
            raise UserError(ended.error or 'The audit ended without a report.')
        return {'report': page.name, 'status': ended.status}

    return picture_routes.described_job(state, state.queue.submit(user, audited, 'audit'))


@router.get('/audits/{id}')
def audit_report(state: State, user: User, id: str) -> FileResponse:
    """Returns the report of an audit."""
    found = state.queue.find(user, id).result
    report = found.get('report') if isinstance(found, dict) else None
    if report is None or not state.pictures.report(report).exists():
        raise OutsideError('This audit has no report, or not any more.')
    return FileResponse(state.pictures.report(report), media_type='text/html; charset=utf-8')


@router.get('/trainings')
def started(state: State) -> list[dict[str, Any]]:
    """Lists the runs that were started here, with state, curves and the end of the log."""
    return [state.trainings.described(workdir) for workdir in state.trainings.started_here()]


@router.post('/trainings', status_code=201)
def train(state: State, body: TrainBody) -> dict[str, Any]:
    """Trains on captures, in a process that goes on when this page is closed."""
    order = trainings.Order(
        captures=body.captures,
        name=body.name,
        minutes=body.minutes,
        pattern=body.pattern,
        single=body.single,
        fix=body.fix,
        start=state.models.location(body.start) if body.start else '',
    )
    return state.trainings.described(state.trainings.start(order))


@router.post('/trainings/{name:path}/stop')
def stop(state: State, name: str) -> dict[str, Any]:
    """Has a training save what it has, and end."""
    workdir = state.trainings.find(name)
    state.trainings.stop(workdir)
    return state.trainings.described(workdir)


@router.post('/trainings/{name:path}/resume')
def resume(state: State, name: str) -> dict[str, Any]:
    """Goes on with a training."""
    workdir = state.trainings.find(name)
    state.trainings.resume(workdir)
    return state.trainings.described(workdir)


@router.post('/trainings/{name:path}/score', status_code=202)
def score(state: State, user: User, name: str) -> dict[str, Any]:
    """Scores a run on the captures that were held out of its training, beside other methods.

    Returns the job, whose result is tables in HTML.
    """
    command = state.trainings.score_command(state.trainings.find(name))

    def scored(job: Job) -> dict[str, str]:
        ended = programs.run(command, job)
        # Tables, and an empty line where something else stands between two.
        lines = [line if line.startswith('|') else '' for line in ended.out.splitlines()]
        tables = re.sub(r'\n{2,}', '\n\n', '\n'.join(lines)).strip()
        if ended.status or not tables:
            raise UserError(ended.error or 'n2n score ended without a table.')
        return {'table': web_page.from_markdown(tables)}

    return picture_routes.described_job(state, state.queue.submit(user, scored, 'score'))


@router.get('/runs')
def runs(state: State) -> dict[str, Any]:
    """Lists the runs and tables."""
    return {
        'runs': [
            {'name': state.folder.name_of(path), 'state': state.trainings.state(path)}
            for path in state.folder.runs()
        ],
        'tables': [state.folder.name_of(path) for path in state.folder.tables()],
    }


@router.get('/runs/{name:path}/report')
def report(state: State, name: str, save: bool = False) -> HTMLResponse:
    """Returns a run as one page: scores, curves, pictures, settings, origin."""
    path = state.folder.without_links_out(name)
    headers = {'content-disposition': 'attachment; filename="report.html"'} if save else {}
    return HTMLResponse(run_page.page(path), headers=headers)


@router.get('/tables/{name:path}')
def table(state: State, name: str) -> HTMLResponse:
    """Returns a table as a page."""
    path = state.folder.inside(name)
    if path not in state.folder.tables():
        raise OutsideFolderError(f"'{name}' is not a table.")
    body = web_page.from_markdown(path.read_text(encoding='utf-8'))
    return HTMLResponse(web_page.document(path.stem, body))


@router.get('/previews/{name:path}')
def preview(state: State, name: str) -> Response:
    """Returns a picture that an evaluation of a run has left."""
    path = state.folder.inside(name)
    if path.suffix != '.png' or 'evaluation' not in path.parts:
        raise OutsideFolderError(f"'{name}' is not a picture of a run.")
    return FileResponse(path, media_type='image/png')
