"""The web server of the page."""

import asyncio
import contextlib
import logging
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from n2n_jax.app import api_page, capture_routes, picture_routes
from n2n_jax.app.guard import Guard
from n2n_jax.app.job_queue import FullError, UnknownJobError
from n2n_jax.app.local_folder import OutsideFolderError
from n2n_jax.app.pictures import InvalidError, TooLargeError, UnknownPictureError
from n2n_jax.app.settings import Settings
from n2n_jax.app.state import AppState, BusyError, sentence_of
from n2n_jax.app.views import OutsideError
from n2n_jax.runtime.errors import UserError

_log = logging.getLogger(__name__)

_STATIC = Path(__file__).parent / 'static'
_CLEANUP_SECONDS = 60.0
_BROWSER_SECONDS = 1.0  # until the server answers
_PATIENCE = 3  # seconds that requests have at the end
_STATUS = {
    UnknownPictureError: 404,
    UnknownJobError: 404,
    OutsideError: 404,
    OutsideFolderError: 404,
    BusyError: 409,
    TooLargeError: 413,
    InvalidError: 415,
    FullError: 503,
}


def create(settings: Settings) -> Guard:
    """Returns the application; uploads are kept until it is shut down."""
    app = FastAPI(
        title='n2n_jax',
        version=metadata.version('n2n_jax'),
        description='Denoise pictures, compare, train on your own captures.',
        docs_url=None,  # these load scripts from elsewhere
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.settings = settings
    app.include_router(picture_routes.router)
    app.include_router(capture_routes.router)
    app.add_exception_handler(Exception, _on_error)
    app.add_exception_handler(UserError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.mount('/static', StaticFiles(directory=_STATIC), name='static')

    @app.get('/', include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(_STATIC / 'index.html', media_type='text/html; charset=utf-8')

    @app.get('/docs', include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(api_page.page(app.openapi()))

    return Guard(app, settings)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state = AppState(app.state.settings)
    app.state.shared = state
    cleanup = asyncio.create_task(_clean_up(state))
    try:
        yield
    finally:
        cleanup.cancel()
        state.close()


async def _clean_up(state: AppState) -> None:
    while True:
        await asyncio.sleep(_CLEANUP_SECONDS)
        state.pictures.remove_old(state.queue.users())


def _on_error(request: Request, error: Exception) -> JSONResponse:
    del request
    fallback = 422 if isinstance(error, UserError) else 500
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), fallback)
    return JSONResponse({'error': sentence_of(error)}, status)


def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    words = f'{request.method} {request.url.path}: {error.detail}.'
    return JSONResponse({'error': words}, error.status_code, error.headers)


def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    del request
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0]
    if first['type'] == 'json_invalid':
        return JSONResponse({'error': 'The request is not valid JSON.'}, 422)
    where = '.'.join(str(part) for part in first['loc'][1:]) or 'the request'
    return JSONResponse({'error': f'{where}: {first["msg"]}.'}, 422)


def serve(settings: Settings, *, open_browser: bool) -> None:
    """Serves the page until the program is interrupted.

    Args:
      settings: where, and what.
      open_browser: whether to open it in a browser, where there is a desktop.

    Raises:
      UserError: the address cannot be listened at.
    """
    with listening(settings) as listener:
        port = listener.getsockname()[1]
        address = f'http://{_in_address(settings.host)}:{port}'
        config = uvicorn.Config(
            create(settings),
            log_level='warning',
            timeout_graceful_shutdown=_PATIENCE,
            server_header=False,
        )
        server = uvicorn.Server(config)
        if open_browser and has_desktop():
            threading.Timer(_BROWSER_SECONDS, webbrowser.open, [address]).start()
        _log.info('%s  (Ctrl-C ends it)', address)
        server.run(sockets=[listener])


@contextlib.contextmanager
def listening(settings: Settings) -> Iterator[socket.socket]:
    """Listens at the address; raises UserError if that cannot be done."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        family, kind, _, _, address = sorted(found)[0]  # of both, IPv4
        listener = socket.socket(family, kind)
        if os.name != 'nt':  # where it would let two programs listen
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen()  # so that whoever reads the address can connect at once
        except BaseException:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:  # a name of a host may be none
        reason = getattr(error, 'strerror', None) or str(error)
        raise UserError(
            f'The page cannot be opened at {settings.host}:{settings.port}: {reason}. Choose '
            'another --port, or --port 0 for any free one.'
        ) from None
    with listener:
        yield listener


def has_desktop() -> bool:
    """Whether a browser with windows can be opened; others would take over the terminal."""
    if sys.platform in ('win32', 'darwin'):
        return True
    return bool(os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY'))


def _in_address(host: str) -> str:
    if host in ('0.0.0.0', '::'):  # any address of this machine
        host = socket.gethostname()
    return f'[{host}]' if ':' in host else host
