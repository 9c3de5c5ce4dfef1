"""The addresses of the page for programs, as one web page made from their OpenAPI description."""

from collections.abc import Mapping
from html import escape
from typing import Any

from n2n_jax.runtime import web_page

CLIENT = """import requests

site = 'http://localhost:7860'
with requests.Session() as session, open('photo.jpg', 'rb') as photo:
    answer = session.post(f'{site}/api/pictures', params={'name': 'photo.jpg'}, data=photo)
    answer.raise_for_status()
    picture = answer.json()
    print(picture['noise'], picture['model'])
    job = session.post(f'{site}/api/pictures/{picture["id"]}/denoise', json={}).json()
    while job['state'] in ('waiting', 'running'):
        job = session.get(f'{site}/api/jobs/{job["id"]}', params={'wait': 10}).json()
    if job['state'] != 'done':
        raise SystemExit(job['error'])
    denoised = session.get(f'{site}/api/pictures/{picture["id"]}/result').content
with open('photo_denoised.jpg', 'wb') as file:
    file.write(denoised)
"""


def page(schema: Mapping[str, Any]) -> str:
    """Returns the page.

    Args:
      schema: the OpenAPI description.
    """
    parts = [
        '<h1>n2n_jax for programs</h1>\n',
        '<p>All that the page does, programs can do. Uploads and jobs belong to the cookie that '
        'the first answer sets, so keep it: in Python, use one session. Errors have a status of '
        '400 or more and {"error": a sentence}. The full description is '
        '<a href="/openapi.json">openapi.json</a>.</p>\n',
        f'<h2>Example</h2>\n<div class="wide"><pre>{escape(CLIENT)}</pre></div>\n',
        '<h2>Addresses</h2>\n',
    ]
    rows = []
    for path, methods in schema['paths'].items():
        for method, operation in methods.items():
            takes = [each['name'] for each in operation.get('parameters', ())]
            takes += _fields(operation, schema)
            rows.append(
                [
                    f'<code>{method.upper()} {escape(path)}</code>',
                    escape(operation.get('description', '')),
                    escape(', '.join(takes)),
                ]
            )
    parts.append(web_page.table(('address', 'what it does', 'parameters'), rows))
    return web_page.document('n2n_jax for programs', ''.join(parts))


def _fields(operation: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """Returns the fields of the JSON that an address takes."""
    content = operation.get('requestBody', {}).get('content', {})
    if 'application/json' not in content:
        return ['the file as body'] if content else []
    name = content['application/json']['schema']['$ref'].rsplit('/', 1)[-1]
    return list(schema['components']['schemas'][name]['properties'])
