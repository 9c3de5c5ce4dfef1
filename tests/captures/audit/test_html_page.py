"""The page is valid, self-contained, readable without colors, and bounded in size."""

import base64
import dataclasses
import io
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from n2n_jax.captures import audit
from n2n_jax.captures.audit import html_page
from n2n_jax.captures.scene_captures import SceneCaptures

EVIL = '<script>alert("1")</script>&amp; "a|b"'


def scene(name, seed=0, side=40, channels=1, shared=False):
    rng = np.random.default_rng(seed)
    image_HW1 = 90 + 40 * np.sin(np.arange(side) / 3)[:, None, None] * np.ones((1, side, 1))
    x_NHWC = image_HW1 + rng.normal(0, 9, (2, side, side, channels))
    if shared:
        x_NHWC[1] = x_NHWC[0]
    return SceneCaptures(name, np.rint(x_NHWC).clip(0, 255).astype(np.uint8))


def page_of(scenes):
    details = html_page.Details()
    audits = []
    for one in scenes:
        audits.append(audit.audit_scene(one))
        details.add(audits[-1], one.captures_NHWC)
    return html_page.page(audits, details.by_scene())


def tree_of(page):
    first, rest = page.split('\n', 1)
    assert first == '<!DOCTYPE html>'
    return ET.fromstring(rest)


@pytest.fixture(scope='module')
def page():
    return page_of([scene('cells'), scene(EVIL, shared=True), scene('color', 2, 48)])


def test_the_page_is_well_formed_and_self_contained(page):
    root = tree_of(page)
    tags = {element.tag.rsplit('}')[-1] for element in root.iter()}
    assert not tags & {'script', 'link', 'iframe', 'object'}
    for element in root.iter():
        for attribute in ('src', 'href'):
            assert element.get(attribute, 'data:').startswith('data:')
    assert 'url(' not in page
    assert '@import' not in page
    HTMLParser().feed(page)


def test_names_are_escaped(page):
    assert EVIL not in page
    headings = [''.join(e.itertext()) for e in tree_of(page).iter('h3')]
    assert headings[0].startswith(EVIL)  # the worst comes first
    assert any(cell.text == EVIL for cell in tree_of(page).iter('th'))


def test_verdicts_are_written_out(page):
    root = tree_of(page)
    top = next(e for e in root.iter('p') if (e.get('class') or '').startswith('verdict'))
    assert ''.join(top.itertext()).startswith('Verdict: warning.')
    assert re.search(r'3 scenes: [^.]*1 unusable\.', page)
    for cell in root.iter('td'):
        if cell.get('class') in (audit.WARNING, audit.UNUSABLE):
            assert cell.get('class') in ''.join(cell.itertext())
    assert '1 and 2 alike' in page


def test_every_scene_has_images_and_plots(page):
    sections = list(tree_of(page).iter('section'))
    assert len(sections) == 3
    for section in sections:
        images = list(section.iter('img'))
        assert len(images) == 2
        for image in images:
            assert image.get('alt')
            content = base64.b64decode(image.get('src').split(',')[1])
            assert Image.open(io.BytesIO(content)).size in ((40, 40), (48, 48))
        plots = [e for e in section.iter() if e.tag.endswith('}svg')]
        assert len(plots) == 3
        assert all(plot.find('{http://www.w3.org/2000/svg}title').text for plot in plots)


def test_at_most_twenty_scenes_are_shown_in_detail():
    few = [audit.audit_scene(scene(f's{k}', k, 32)) for k in range(3)]
    shown = html_page.pictures(scene('s', 0, 32).captures_NHWC)
    audits, details = [], html_page.Details()
    for k in range(60):
        one = dataclasses.replace(few[k % 3], name=f'scene{k}')
        if k == 50:
            bad = audit.Finding(one.name, 'x', 0, '', audit.UNUSABLE, 'do this')
            one = dataclasses.replace(one, findings=(*one.findings, bad))
        audits.append(one)
        details.add(one, scene('s', k, 32).captures_NHWC)
    kept = details.by_scene()
    assert list(kept)[:3] == ['scene50', 'scene0', 'scene1']
    assert len(kept) == html_page.MOST_DETAILED
    page = html_page.page(audits, kept)
    assert len(list(tree_of(page).iter('section'))) == 20
    assert 'Images and plots of 20 of 60 scenes' in page
    assert page.count('scene59') == 1  # in the table only
    assert sum(shown.counts) == 2 * 32 * 32


def test_large_and_color_and_flat_scenes_have_images():
    rng = np.random.default_rng(0)
    large = html_page.pictures(rng.normal(0, 1, (2, 500, 700, 3)))
    assert Image.open(io.BytesIO(large.first)).size == (320, 320)
    assert Image.open(io.BytesIO(large.first)).mode == 'RGB'
    assert len(large.counts) == len(large.edges) - 1
    flat = html_page.pictures(np.full((2, 40, 40, 1), 0.5, np.float32))
    assert flat.counts == (2 * 40 * 40,)


@pytest.mark.parametrize('channels', [1, 2, 3, 4, 5, 8])
def test_images_of_any_number_of_channels_can_be_opened(channels):
    shown = html_page.pictures(scene('s', channels=channels).captures_NHWC)
    for picture in (shown.first, shown.difference):
        with Image.open(io.BytesIO(picture)) as image:
            image.load()
            assert image.size == (40, 40)
            assert image.mode == ('RGB' if channels == 3 else 'L')
