"""Self-contained web pages: one style, and no other files, network or scripts."""

import base64
import re
from collections.abc import Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1b1b; --soft: #6a6a6a; --edge: #d5d5d5;
  --fine: #1d6b38; --warning: #8a5200; --unusable: #b3261e; --data: #2563a8; }
@media (prefers-color-scheme: dark) { :root { --back: #16181b; --text: #e8e8e8; --soft: #a5a5a5;
  --edge: #3c4046; --fine: #6fd08c; --warning: #f2b455; --unusable: #ff8a80; --data: #7fb3ec; } }
body { margin: 0 auto; padding: 1rem; max-width: 80rem; background: var(--back);
  color: var(--text); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; } h3 { font-size: 1.1rem; }
.fine { color: var(--fine); } .warning { color: var(--warning); }
.unusable { color: var(--unusable); font-weight: 600; }
.verdict { font-size: 1.15rem; border-left: .4rem solid; padding: .3rem .8rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .5rem .3rem 0;
  border-bottom: 1px solid var(--edge); overflow-wrap: normal; min-width: 4.4rem; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; max-width: 100%; } figcaption { color: var(--soft); font-size: .85rem;
  max-width: 20rem; } img, svg { max-width: 100%; height: auto; display: block; }
img { image-rendering: pixelated; min-width: 10rem; } img.shrunk { image-rendering: auto; }
section { border-top: 2px solid var(--edge); margin-top: 2rem; }
svg .data { color: var(--data); } svg .fit { color: var(--warning); stroke-width: 2; }
svg .bad { color: var(--unusable); } small, .soft { color: var(--soft); }
"""


def document(title: str, body: str) -> str:
    """Returns a page.

    Args:
      title: its title, as text.
      body: what it shows, as HTML.
    """
    whole = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f'<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n'
        f'{body}</body>\n</html>\n'
    )
    # File names may contain bytes that are not text, which UTF-8 cannot encode.
    return whole.encode('utf-8', 'backslashreplace').decode('utf-8')


def image(content: bytes, caption: str, *, shrinks: bool = False) -> str:
    """Returns a PNG with its caption below.

    Args:
      content: the PNG.
      caption: its caption, as text.
      shrinks: whether it may be larger than the page, which then shows it smaller; else its pixels
        are shown as squares.
    """
    data = base64.b64encode(content).decode('ascii')
    kind = ' class="shrunk"' if shrinks else ''
    shown = f'<img{kind} src="data:image/png;base64,{data}" alt="{escape(caption)}"/>'
    return figure(shown, caption)


def figure(content: str, caption: str) -> str:
    """Returns HTML, such as that of a plot, with its caption below."""
    return f'<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>\n'


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table of HTML cells, which scrolls on narrow screens."""
    first = ''.join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = [f'<tr>{"".join(f"<td>{cell}</td>" for cell in row)}</tr>\n' for row in rows]
    return (
        f'<div class="wide"><table>\n<thead><tr>{first}</tr></thead>\n'
        f'<tbody>\n{"".join(lines)}</tbody></table></div>\n'
    )


def from_markdown(text: str) -> str:
    """Returns what the Markdown of our reports looks like: tables, paragraphs and bold words."""
    parts = []
    for block in filter(None, text.strip().split('\n\n')):
        lines = block.splitlines()
        if lines[0].startswith('|') and len(lines) > 1:
            head, _, *rows = ([_inline(x.strip()) for x in _cells(line)] for line in lines)
            parts.append(table(head, rows))
        else:
            parts.append(f'<p class="soft">{_inline(" ".join(lines))}</p>\n')
    return ''.join(parts)


def _cells(line: str) -> list[str]:
    return re.split(r'(?<!\\)\|', line.strip().strip('|'))


def _inline(text: str) -> str:
    text = escape(text.replace('\\|', '|').replace('\\*', '*'))
    return re.sub(r'\*\*(.+?)\*\*', r'<strong>\1</strong>', text)
