"""What every request passes before it is answered: who sends it, and from where."""

import asyncio
import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from n2n_jax.app.settings import LOCAL_HOSTS, Settings
from n2n_jax.runtime import json_files

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = 'n2n_user'
_WRONG_PASSWORD_SECONDS = 1.0  # so that guessing takes long
_SAFE_METHODS = ('GET', 'HEAD', 'OPTIONS')
_HEADERS = {
    # Everything comes from here; pages of runs and audits bring their style along.
    'content-security-policy': "default-src 'self'; img-src 'self' data: blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'self'; form-action 'self'; base-uri 'none'",
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
}


class Guard:
    """Wraps the application, `app`.

    Each browser gets a cookie, by which its uploads and jobs are told from those of others.

    Args:
      app: the application; it finds the user in scope['state']['user'].
      settings: the password, and where the page listens.
    """

    def __init__(self, app: Application, settings: Settings) -> None:
        self.app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or has it answered."""
        if scope['type'] != 'http':
            await self.app(scope, receive, send)
            return
        headers = {name.decode('latin-1'): value for name, value in scope['headers']}
        try:
            refusal = self._refusal(scope['method'], headers)
        except ValueError:  # of an address that is none
            refusal = 400, 'The host or the origin of this request is not an address.'
        if refusal:
            if refusal[0] == 401 and 'authorization' in headers:
                await asyncio.sleep(_WRONG_PASSWORD_SECONDS)
            await _answer(send, *refusal)
            return
        user = _user_of(headers)
        new = user or secrets.token_urlsafe(24)
        scope.setdefault('state', {})['user'] = new

        async def send_with_headers(message: Message) -> None:
            if message['type'] == 'http.response.start':
                sent = {name for name, _ in message['headers']}
                more = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                if user is None:
                    cookie = f'{COOKIE}={new}; HttpOnly; SameSite=Strict; Path=/'
                    more.append((b'set-cookie', cookie.encode()))
                message['headers'] = [
                    *message['headers'],
                    *(pair for pair in more if pair[0] not in sent),
                ]
            await send(message)

        await self.app(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: dict[str, bytes]) -> tuple[int, str] | None:
        """Returns status and sentence with which a request is refused, None if it is not."""
        host = headers.get('host', b'').decode('latin-1')
        name = _host_name(host)
        # A web page elsewhere can have a name of its own point to this machine.
        if self._settings.is_local and name not in LOCAL_HOSTS:
            return 400, f'This page is for this machine alone: open it at {LOCAL_HOSTS[0]}.'
        origin = headers.get('origin', b'').decode('latin-1')
        if method not in _SAFE_METHODS and origin and urlsplit(origin).netloc != host:
            return 403, 'This request comes from another web page.'
        if self._settings.password and not self._knows_password(headers):
            return 401, 'This page needs its password: give it with any user name.'
        return None

    def _knows_password(self, headers: dict[str, bytes]) -> bool:
        kind, _, encoded = headers.get('authorization', b'').partition(b' ')
        if kind.lower() != b'basic':
            return False
        try:
            _, _, given = base64.b64decode(encoded, validate=True).partition(b':')
        except binascii.Error:
            return False
        return hmac.compare_digest(given, self._settings.password.encode())


def _user_of(headers: dict[str, bytes]) -> str | None:
    # Split by hand: one odd cookie of another program on localhost makes http.cookies drop all.
    for pair in headers.get('cookie', b'').decode('latin-1').split(';'):
        name, _, value = pair.strip().partition('=')
        if name == COOKIE and re.fullmatch(r'[\w-]{16,64}', value, re.ASCII):
            return value
    return None


def _host_name(host: str) -> str:
    """Returns the host of 'host:port', without the brackets of an IPv6 address."""
    return urlsplit(f'//{host}').hostname or ''


async def _answer(send: Send, status: int, sentence: str) -> None:
    headers = [(b'content-type', b'application/json')]
    headers += [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
    if status == 401:
        headers.append((b'www-authenticate', b'Basic realm="n2n_jax", charset="UTF-8"'))
    await send({'type': 'http.response.start', 'status': status, 'headers': headers})
    await send(
        {'type': 'http.response.body', 'body': json_files.dumps({'error': sentence}).encode()}
    )
