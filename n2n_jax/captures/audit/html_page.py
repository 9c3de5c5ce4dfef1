"""Renders an audit as a self-contained HTML page: no other files, network or scripts.

N captures of a scene, H height, W width, C channels, L lags.
"""

import dataclasses
import heapq
from collections.abc import Sequence
from html import escape

import numpy as np

from n2n_jax.captures import audit
from n2n_jax.captures.measure import regions
from n2n_jax.captures.measure.measured_part import measured_part
from n2n_jax.captures.measure.noise_model import NoiseModel
from n2n_jax.images.codecs import png
from n2n_jax.images.pictures import displayed
from n2n_jax.runtime import svg, web_page
from n2n_jax.runtime.name_list import listed

MOST_DETAILED = 20  # scenes shown with images and plots
_PICTURE = 320  # pixels a side, at most
_BINS = 64
_MOST_ROWS = 1000  # scenes in the table; with more, the page would be too large for phones
_MOST_ADVICE = 50
_MOST_NAMES = 8  # scenes named in a sentence
_MARKS = {audit.FINE: '✓', audit.WARNING: '!', audit.UNUSABLE: '✗'}
_SENTENCES = {
    audit.FINE: 'No problem was found: go ahead and train.',
    audit.WARNING: 'You can train on these captures, but read the warnings first.',
    audit.UNUSABLE: 'Do not train on these captures as they are.',
}
# Explanations of the checks for first-time readers.
_MEANINGS = {
    'duplicates': 'captures that are the same image, perhaps saved twice',
    'shared noise': 'captures with correlated noise, such as overlapping averages',
    'same scene': 'share of the content of a capture that the others show too (1: all)',
    'shift': 'shift of a capture relative to the others, in pixels',
    'brightness': 'gain and offset of a capture relative to the others, in the color that drifts '
    'most',
    'residual': 'what is left in the difference of captures besides noise, in units of the '
    'noise: its mean, and the part that follows the signal',
    'correlation': 'correlation of noise between neighboring pixels (0: none)',
    'channels': 'correlation of noise between colors',
    'saturation': 'share of values clipped at an end of their range',
    'outlier': 'difference of a capture to the closest one, relative to the usual (1: as usual)',
    'noise': 'standard deviation of the noise, in pixel units',
    audit.NEIGHBORS: 'whether noise is independent between neighboring pixels',
}


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Images and histogram of a scene, made while its captures are in memory.

    Attributes:
      first: PNG of the first capture.
      difference: PNG of the first minus the second capture.
      scale: standard deviations from mid-gray to black or white in `difference`.
      counts: counts of the histogram.
      edges: its bin edges, one more than counts.
    """

    first: bytes
    difference: bytes
    scale: float
    counts: tuple[int, ...]
    edges: tuple[float, ...]


def pictures(captures_NHWC: np.ndarray) -> Pictures:
    """Makes the images and the histogram of a scene, without borders that hold no data.

    Large scenes are cropped to their center rather than shrunk, which would average the noise away.
    """
    captures_NHWC = measured_part(captures_NHWC).captures_NHWC
    first_HWC = _center_crop(captures_NHWC[0]).astype(np.float64)
    difference_HWC = first_HWC - _center_crop(captures_NHWC[1])
    low, high = np.percentile(first_HWC, [0.5, 99.5])
    sigma = float(difference_HWC.std())
    limit = 3 * sigma or 1.0
    values = regions.sample(captures_NHWC)
    values = values.astype(np.uint8) if values.dtype == bool else values
    ends = float(values.min()), float(values.max())
    if values.dtype.kind in 'iu' and ends[1] - ends[0] < 4 * _BINS:
        # A whole number of integers per bin: otherwise the histogram looks like a comb.
        step = int(np.ceil((ends[1] - ends[0] + 1) / (4 * _BINS)))
        edges = np.arange(ends[0], ends[1] + step + 0.5, step) - 0.5
    else:
        edges = np.linspace(*ends, _BINS + 1) if ends[1] > ends[0] else np.array([ends[0]] * 2)
    if edges[-1] > edges[0]:
        counts, _ = np.histogram(values, edges)
    else:
        counts = np.array([values.size])
    return Pictures(
        first=_png((first_HWC - low) / max(high - low, 1e-12)),
        difference=_png(0.5 + difference_HWC / (2 * limit)),
        scale=3.0,
        counts=tuple(counts.tolist()),
        edges=tuple(edges.tolist()),
    )


def _center_crop(image_HWC: np.ndarray) -> np.ndarray:
    h, w, _ = image_HWC.shape
    top, left = max(0, (h - _PICTURE) // 2), max(0, (w - _PICTURE) // 2)
    return image_HWC[top : top + _PICTURE, left : left + _PICTURE]


def _png(image_HWC: np.ndarray) -> bytes:
    pixels = displayed(image_HWC)
    is_color = image_HWC.shape[-1] == 3  # otherwise one channel is shown
    return png.encode(pixels, 'rgb') if is_color else png.encode(pixels[..., 0], 'gray')


class Details:
    """Keeps the images of the worst scenes only, to bound memory and page size."""

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[int, int, int], str, Pictures]] = []
        self._count = 0

    def add(self, scene: audit.SceneAudit, captures_NHWC: np.ndarray) -> None:
        """Adds a scene; its images are made only if it is among the worst so far."""
        verdicts = [audit.ORDER.index(finding.verdict) for finding in scene.findings]
        # Worst first; among equals, in order of arrival.
        self._count += 1
        rank = (max(verdicts), sum(verdicts), -self._count)
        if len(self._heap) == MOST_DETAILED and rank < self._heap[0][0]:
            return
        heapq.heappush(self._heap, (rank, scene.name, pictures(captures_NHWC)))
        if len(self._heap) > MOST_DETAILED:
            heapq.heappop(self._heap)

    def by_scene(self) -> dict[str, Pictures]:
        """Returns the images by scene, the worst scene first."""
        return {name: shown for _, name, shown in sorted(self._heap, reverse=True)}


def page(scenes: Sequence[audit.SceneAudit], shown: dict[str, Pictures]) -> str:
    """Renders the page.

    Args:
      scenes: all audited scenes.
      shown: images of the scenes to show in detail, in page order.
    """
    findings = [finding for scene in scenes for finding in scene.findings]
    verdict = audit.worst(findings)
    by_name = {scene.name: scene for scene in scenes}
    parts = [
        '<h1>Are these captures suitable for training?</h1>\n'
        f'<p class="verdict {verdict}"><strong>Verdict: {verdict}.</strong> '
        f'{_SENTENCES[verdict]}</p>\n<p>{_verdict_counts(scenes)}</p>\n',
        _advice(findings),
        _table(scenes),
        _legend(scenes),
    ]
    if shown:
        what = 'All scenes' if len(shown) == len(scenes) else f'The worst {len(shown)} scenes'
        parts.append(f'<h2>{what} in detail</h2>\n')
        if len(shown) < len(scenes):
            parts.append(
                f'<p class="soft">Images and plots of {len(shown)} of {len(scenes)} scenes, the '
                'worst first; the table above and the JSON file (--json) list all of them.</p>\n'
            )
        parts += [_details(by_name[name], pictures) for name, pictures in shown.items()]
    return web_page.document(f'Audit: {verdict}', ''.join(parts))


def _verdict_counts(scenes: Sequence[audit.SceneAudit]) -> str:
    counts = {verdict: 0 for verdict in audit.ORDER}
    for scene in scenes:
        counts[scene.verdict] += 1
    words = ', '.join(f'{count} {verdict}' for verdict, count in counts.items() if count)
    return f'{len(scenes)} scene{"s" * (len(scenes) != 1)}: {words}.'


def _advice(findings: Sequence[audit.Finding]) -> str:
    rows = audit.advice_by_scene(findings)
    if not rows:
        return ''
    items = []
    for verdict, text, names in rows[:_MOST_ADVICE]:
        scenes = listed((escape(name) for name in names), most=_MOST_NAMES)
        items.append(
            f'<li><span class="{verdict}">{verdict}</span>: <strong>{scenes}</strong>: '
            f'{escape(text)}.</li>\n'
        )
    if len(rows) > _MOST_ADVICE:
        items.append(
            f'<li class="soft">and {len(rows) - _MOST_ADVICE} more, see the JSON file.</li>\n'
        )
    return f'<h2>What to do</h2>\n<ul>\n{"".join(items)}</ul>\n'


def _table(scenes: Sequence[audit.SceneAudit]) -> str:
    checks = audit.columns([finding for scene in scenes for finding in scene.findings])
    head = ''.join(f'<th scope="col">{check}</th>' for check in ('scene', 'verdict', *checks))
    order = sorted(scenes, key=lambda scene: -audit.ORDER.index(scene.verdict))
    rows = []
    for scene in order[:_MOST_ROWS]:
        cells = {finding.check: finding for finding in scene.findings}
        row = [f'<th scope="row">{escape(scene.name)}</th>', _cell(scene.verdict, scene.verdict)]
        for check in checks:
            finding = cells.get(check)
            row.append(_cell(finding.verdict, finding.text) if finding else '<td>-</td>')
        rows.append(f'<tr>{"".join(row)}</tr>\n')
    rest = len(order) - len(rows)
    note = f'<p class="soft">{rest} more scenes are in the JSON file.</p>\n' if rest else ''
    return (
        f'<h2>Scene by scene</h2>\n<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n'
        f'<tbody>\n{"".join(rows)}</tbody></table></div>\n{note}'
    )


def _cell(verdict: str, text: str) -> str:
    # The mark and the word repeat what the color says, for those who cannot see it.
    word = '' if verdict == audit.FINE or text == verdict else f' <b>{verdict}</b>'
    return f'<td class="{verdict}">{_MARKS[verdict]} {escape(text)}{word}</td>'


def _legend(scenes: Sequence[audit.SceneAudit]) -> str:
    checks = audit.columns([finding for scene in scenes for finding in scene.findings])
    items = ''.join(f'<li><b>{check}</b>: {_MEANINGS[check]}</li>\n' for check in checks)
    sampled = [scene.name for scene in scenes if scene.sampled]
    note = ''
    if sampled:
        note = (
            f'<p class="soft">{len(sampled)} scenes are so large that only nine regions of 512x512 '
            'pixels, spread over each, were checked.</p>\n'
        )
    return f'<details><summary>What the columns mean</summary><ul>\n{items}</ul></details>\n{note}'


def _details(scene: audit.SceneAudit, shown: Pictures) -> str:
    noise, autocorrelation_LL = scene.noise, scene.autocorrelation_LL
    assert noise is not None  # else there are no pictures
    assert autocorrelation_LL is not None
    n, h, w, c = scene.shape
    what = f'{n} captures, {w}x{h}, {"gray" if c == 1 else "color"}, {scene.kind}'
    findings = ''.join(
        f'<li><b>{finding.check}</b>: <span class="{finding.verdict}">{_MARKS[finding.verdict]} '
        f'{escape(finding.text)}</span>'
        + (f' <b>{finding.verdict}</b>: {escape(finding.advice)}.' if finding.advice else '')
        + '</li>\n'
        for finding in scene.findings
    )
    left_out = ''.join(
        f'<p>{escape(constant.in_words())}: excluded from all checks.</p>\n'
        for constant in scene.constants
    )
    figures = [
        web_page.image(
            shown.first, 'Capture 1, cropped to its center if large, stretched to its range.'
        ),
        web_page.image(
            shown.difference,
            f'Capture 1 minus capture 2; gray is 0, black and white are {shown.scale:g} standard '
            'deviations. It should show noise and nothing of the scene.',
        ),
        web_page.figure(
            _noise_plot(noise),
            'Noise variance over signal, and the fitted line of photon and read noise: '
            f'{line_in_words(noise)}.',
        ),
        web_page.figure(
            _histogram(shown),
            'Frequency of values (square root of the count). A bar that sticks out at an end is '
            'clipping.',
        ),
        web_page.figure(
            svg.cells(autocorrelation_LL.tolist(), title='autocorrelation of the noise'),
            'Autocorrelation of the noise up to five pixels away, centered. Noise that is '
            'independent between pixels shows a single dark cell.',
        ),
    ]
    return (
        f'<section>\n<h3>{escape(scene.name)} <small>{what}</small></h3>\n'
        f'<p class="{scene.verdict}">{_MARKS[scene.verdict]} {scene.verdict}</p>\n'
        f'{left_out}<div class="figures">\n{"".join(figures)}</div>\n'
        f'<ul>\n{findings}</ul>\n</section>\n'
    )


def line_in_words(model: NoiseModel) -> str:
    """Describes the fitted line: 'variance = 2.1 x signal + 30; bins lie within 4 % of it'."""
    sign = '+' if model.square >= 0 else '-'
    return (
        f'variance = {model.gain:.3g} x signal {sign} {abs(model.square):.3g}; bins lie within '
        f'{model.misfit:.0%} of it'
    )


def _noise_plot(model: NoiseModel) -> str:
    signal, variance = model.signal_B, model.variance_B
    x = float(signal.min()), float(signal.max())
    top = float(variance.max()) * 1.1 or 1.0
    plot = svg.Plot(x, (0.0, top))
    # Only the part of the line inside the axes.
    inside = [s for s in np.linspace(*x, 50) if 0 <= model.gain * s + model.square <= top]
    excluded = ~model.used_B
    marks = [
        svg.line(plot, inside, [model.gain * s + model.square for s in inside]),
        svg.points(plot, signal[model.used_B].tolist(), variance[model.used_B].tolist()),
        svg.points(plot, signal[excluded].tolist(), variance[excluded].tolist(), 'bad'),
    ]
    return svg.figure(plot, marks, x_label='signal', y_label='variance', title=line_in_words(model))


def _histogram(shown: Pictures) -> str:
    heights = np.sqrt(shown.counts)
    plot = svg.Plot((shown.edges[0], shown.edges[-1]), (0.0, float(heights.max()) * 1.05))
    return svg.figure(
        plot,
        [svg.bars(plot, shown.edges, heights.tolist())],
        x_label='value',
        y_label='square root of the count',
        title='histogram of all captures',
    )
