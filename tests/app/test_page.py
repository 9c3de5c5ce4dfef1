"""The page in a browser: the nine cases of its testing plan, and every flow."""

import io
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from page_server import Held, encoded, noisy_pixels, serving, use_tiny_models
from PIL import Image

from n2n_jax.app import comparing, programs
from n2n_jax.app.settings import Settings

playwright = pytest.importorskip('playwright.sync_api', reason='no playwright to drive a browser')

BROWSER = next(
    filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason='no Chromium: .ci/run installs it')
SECONDS = 60_000  # milliseconds until what should appear has failed to
# Pictures of the page go where a person can look at them, if that is asked for.
SHOTS = os.environ.get('N2N_SCREENSHOTS', '')


@pytest.fixture(scope='module')
def browser():
    options = ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage']
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER, args=options)
        yield opened
        opened.close()


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / 'folder'
    made.mkdir()
    return made


@pytest.fixture
def site(folder, tmp_path, monkeypatch):
    use_tiny_models(tmp_path / 'models', monkeypatch)
    with serving(Settings(folder, port=0, most_pixels=60_000_000)) as address:
        yield address


@pytest.fixture
def page(browser, site):
    """The page, opened; errors of its scripts fail the test."""
    context = browser.new_context(viewport={'width': 1200, 'height': 850}, accept_downloads=True)
    opened, errors = context.new_page(), []
    opened.set_default_timeout(SECONDS)
    opened.on('pageerror', lambda error: errors.append(error))
    opened.goto(site)
    opened.wait_for_selector('body[data-ready]')
    yield opened
    context.close()
    assert not errors


def chosen(page, *files):
    """Chooses files, (name, content) each."""
    page.set_input_files(
        '#files',
        [{'name': n, 'mimeType': 'application/octet-stream', 'buffer': c} for n, c in files],
    )


def loaded(page, pixels=None, name='photo.png'):
    chosen(page, (name, encoded(noisy_pixels() if pixels is None else pixels)))
    page.wait_for_selector(f'#facts strong:text-is("{name}")')


def denoised(page):
    page.click('#start')
    page.wait_for_selector('#save:visible')


def canvas_pixels(page):
    """The pixels of the view, once it has stopped changing."""
    before = None
    while True:
        page.wait_for_timeout(150)
        shot = page.locator('#canvas').screenshot()
        if shot == before:
            return np.asarray(Image.open(io.BytesIO(shot)).convert('RGB'))
        before = shot


def shot(page, name):
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f'{name}.png')


def message(page):
    page.wait_for_selector('#message:visible')
    return page.inner_text('#message')


def test_case_1_a_loaded_image_is_shown(page):
    pixels = noisy_pixels()
    loaded(page, pixels)
    facts = page.inner_text('#facts')
    assert '96×64 pixels, color, uint8' in facts
    assert 'Model gaussian-color suits it' in facts
    page.click('#one')
    shown = canvas_pixels(page)
    assert any(  # every pixel, at 1:1
        np.array_equal(shown[y : y + 64, x : x + 96], pixels)
        for y in range(shown.shape[0] // 2 - 36, shown.shape[0] // 2 - 28)
        for x in range(shown.shape[1] // 2 - 52, shown.shape[1] // 2 - 44)
    )


def test_case_2_denoise_shows_the_clean_version(page):
    loaded(page)
    before = canvas_pixels(page)
    denoised(page)
    assert page.inner_text('#made-by') == 'Denoised by gaussian-color.'
    after = canvas_pixels(page)
    quarter = after.shape[1] // 4
    np.testing.assert_array_equal(before[:, :quarter], after[:, :quarter])
    assert np.any(before[:, -2 * quarter + 20 :] != after[:, -2 * quarter + 20 :])
    page.fill('#split', '0')
    assert np.any(canvas_pixels(page)[:, :quarter] != after[:, :quarter])
    for mode in ('beside', 'removed'):
        page.check(f'input[value={mode}]')
        assert np.any(canvas_pixels(page) != after)
    with page.expect_download() as download:
        page.click('#save')
    assert download.value.suggested_filename == 'photo_denoised.png'
    with Image.open(download.value.path()) as result:
        assert result.size == (96, 64)


def test_case_3_an_invalid_file_asks_for_a_valid_one(page):
    chosen(page, ('notes.txt', b'hello'))
    assert 'notes.txt is not a valid image file. Please upload a valid image' in message(page)
    assert 'PNG, JPEG, TIFF, BMP, WebP, EXR or NumPy' in message(page)
    chosen(
        page, ('photo.png', encoded(noisy_pixels())[:500]), ('fine.png', encoded(noisy_pixels()))
    )
    page.wait_for_selector('#facts strong:text-is("fine.png")')  # the others are not harmed
    page.wait_for_selector('#message:has-text("photo.png")')
    assert 'lease upload a valid image file' in message(page)
    shot(page, 'invalid')


def test_case_4_denoise_without_an_image_says_that_none_is_loaded(page):
    page.click('#start')
    assert message(page) == 'No image is loaded: choose or drop one first.'
    page.click('nav button[data-section=compare]')
    page.click('#with-noise button')
    assert message(page) == 'No image is loaded: load one first, under Denoise.'


def test_cases_5_and_6_while_denoising_no_upload_and_no_silent_leaving(page, monkeypatch):
    held = Held(monkeypatch)
    loaded(page)
    page.click('#start')
    assert held.begun.wait(SECONDS / 1000)
    page.wait_for_selector('#progress:visible')
    chosen(page, ('other.png', encoded(noisy_pixels(16, 16))))
    assert message(page).startswith('Denoising is in progress: upload a new image when it has')
    shot(page, 'in_progress')
    asked = []

    def stay(dialog):
        asked.append(dialog.type)
        dialog.dismiss()

    page.once('dialog', stay)
    page.evaluate('setTimeout(() => window.location.reload(), 0)')
    page.wait_for_timeout(500)
    assert asked == ['beforeunload']
    page.once('dialog', lambda dialog: dialog.accept())
    page.reload()
    page.wait_for_selector('body[data-ready]')
    page.wait_for_selector('#cancel:visible')  # the job is still there
    held.let_go()
    page.wait_for_selector('#save:visible')  # and was not harmed
    assert page.locator('#pictures li').count() == 1
    page.evaluate('setTimeout(() => window.location.reload(), 0)')  # now nothing is lost
    page.wait_for_selector('body[data-ready]')
    page.wait_for_selector('#save:visible')  # and what was done is there again


def test_case_7_compared_with_the_original(page):
    clean = noisy_pixels(seed=1)
    loaded(page)
    denoised(page)
    page.click('nav button[data-section=compare]')
    page.set_input_files(
        '#original',
        {'name': 'clean.png', 'mimeType': 'image/png', 'buffer': encoded(clean)},
    )
    page.wait_for_selector('#with-original table')
    cells = page.locator('#with-original td').all_inner_texts()
    mse = np.mean(((noisy_pixels() / 255.0) - clean / 255.0) ** 2)
    assert cells[:2] == ['as it is', f'{-10 * np.log10(mse):.2f}']
    assert cells[4] == 'denoised'
    assert len(cells) == 8
    page.click('nav button[data-section=denoise]')
    before = canvas_pixels(page)
    page.check('input[value=error]')
    assert np.any(canvas_pixels(page) != before)


@pytest.mark.parametrize(
    'size', [(16, 16), *(pytest.param(size, marks=pytest.mark.slow) for size in [(8, 8), (1, 40)])]
)
def test_case_8_small_images(page, size):
    loaded(page, noisy_pixels(*size))
    page.click('#start')
    page.wait_for_selector('#save:visible')
    with page.expect_download() as download:
        page.click('#save')
    with Image.open(download.value.path()) as result:
        assert result.size == size[::-1]


@pytest.mark.slow
def test_a_second_capture_gives_an_estimate(page):
    loaded(page, noisy_pixels(96, 96))
    page.click('nav button[data-section=compare]')
    second = {'name': 'b.png', 'mimeType': 'image/png', 'buffer': encoded(noisy_pixels(96, 96, 1))}
    page.set_input_files('#second', second)
    page.wait_for_selector('#with-capture table')
    assert 'as it is' in page.inner_text('#with-capture table')
    assert 'The audit of the two captures' in page.inner_text('#with-capture .result')


@pytest.mark.slow
def test_a_trial_lists_every_method(page, monkeypatch):
    monkeypatch.setattr(comparing, 'TRIAL_BASELINES', ('median',))  # the others take seconds
    loaded(page, noisy_pixels(48, 48))
    page.click('nav button[data-section=compare]')
    page.fill('#noise', 'gaussian:25')
    page.click('#with-noise button')
    page.wait_for_selector('#with-noise table')
    assert {'noisy', 'gaussian-color', 'median'} <= set(
        page.locator('#with-noise td:first-child').all_inner_texts()
    )
    page.wait_for_function(
        """() => [...document.querySelectorAll('#with-noise img')]
        .every((each) => each.naturalWidth === 48)"""
    )
    page.fill('#noise', 'nonsense')
    page.click('#with-noise button')
    assert "Unknown noise 'nonsense'" in message(page)


def test_many_files_wait_their_turn_and_come_as_one_archive(page, site, monkeypatch):
    held = Held(monkeypatch)
    chosen(page, *((f'{i}.png', encoded(noisy_pixels(16, 24, seed=i))) for i in range(3)))
    page.wait_for_selector('#pictures li:nth-child(3)')
    page.click('#start-all')
    page.wait_for_selector('#pictures li:has-text("waits")')
    assert held.begun.wait(SECONDS / 1000)
    page.click('#cancel')
    page.wait_for_selector('#cancel', state='hidden')
    assert site.state.queue.users() == set()
    assert not page.is_visible('#save')
    held.let_go()
    page.click('#start-all')
    page.wait_for_selector('#save-all:visible')
    page.wait_for_function(
        """() => [...document.querySelectorAll('#pictures li .soft')]
        .map((each) => each.textContent).join() === 'denoised,denoised,denoised'"""
    )
    with page.expect_download() as download:
        page.click('#save-all')
    assert download.value.suggested_filename == 'denoised.zip'
    page.click('[aria-label="Remove 1.png"]')
    page.wait_for_function("() => document.querySelectorAll('#pictures li').length === 2")


def test_stacks_are_shown_image_by_image(page):
    buffer = io.BytesIO()
    stack = np.stack([noisy_pixels(40, 40, seed=i)[..., 0] for i in range(3)])
    tifffile.imwrite(buffer, stack, photometric='minisblack')
    chosen(page, ('stack.tif', buffer.getvalue()))
    page.wait_for_selector('#page-of:visible')
    first = canvas_pixels(page)
    page.fill('#page', '3')
    page.press('#page', 'Tab')
    assert np.any(canvas_pixels(page) != first)


def test_everything_is_reached_by_the_keyboard(page):
    loaded(page)
    page.focus('#canvas')
    before = page.inner_text('#zoom')
    page.keyboard.press('+')
    page.wait_for_function(f"() => document.getElementById('zoom').textContent !== '{before}'")
    page.keyboard.press('1')
    page.wait_for_function("() => document.getElementById('zoom').textContent === '100 %'")
    reached = set()
    for _ in range(40):
        page.keyboard.press('Tab')
        reached.add(page.evaluate('document.activeElement.id || document.activeElement.className'))
    assert {'files', 'model', 'strength', 'tta', 'start', 'fit', 'canvas'} <= reached
    page.locator('#pictures .pick').focus()
    page.keyboard.press('Enter')  # which makes the list anew
    assert page.evaluate('document.activeElement.className') == 'pick'
    unnamed = page.evaluate("""
        [...document.querySelectorAll('input, select, button, canvas, iframe')].filter((each) =>
        !(each.labels?.length || each.ariaLabel || each.textContent.trim() || each.title))
        .map((each) => each.id)""")
    assert unnamed == []


@pytest.mark.parametrize(
    ('width', 'scheme'),
    [
        (1200, 'light'),
        (360, 'dark'),
        pytest.param(1200, 'dark', marks=pytest.mark.slow),
        pytest.param(360, 'light', marks=pytest.mark.slow),
    ],
)
def test_it_fits_and_is_legible_at_any_width_and_in_the_dark(browser, site, scheme, width):
    context = browser.new_context(viewport={'width': width, 'height': 800}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(SECONDS)
    page.goto(site)
    page.wait_for_selector('body[data-ready]')
    loaded(page)
    for section in ('denoise', 'compare', 'captures', 'runs'):
        page.click(f'nav button[data-section={section}]')
        page.wait_for_timeout(100)
        shot(page, f'{section}_{width}_{scheme}')
        assert page.evaluate('document.documentElement.scrollWidth') <= width
        assert page.evaluate(_LOW_CONTRAST) == []
    context.close()


# Visible texts whose contrast with what is behind them is below 4.5 (WCAG 2, level AA).
_LOW_CONTRAST = """(() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = (color) => numbers(color).slice(0, 3).map((value) => {
    const share = value / 255;
    return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  }).reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const color = getComputedStyle(each).backgroundColor;
      if ((numbers(color)[3] ?? 1) === 1) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  return [...document.querySelectorAll('body *')].filter((element) => {
    const texts = [...element.childNodes].filter((node) => node.nodeType === 3);
    const own = texts.some((node) => node.textContent.trim());
    if (!own || !element.checkVisibility()) return false;
    const a = luminance(getComputedStyle(element).color) + 0.05;
    const b = luminance(behind(element)) + 0.05;
    return Math.max(a, b) / Math.min(a, b) < 4.5;
  }).map((element) => element.outerHTML.slice(0, 80));
})()"""


def test_captures_are_checked(page, folder):
    (folder / 'cells').mkdir()
    for capture in range(2):
        pixels = encoded(noisy_pixels(96, 96, seed=capture))
        (folder / 'cells' / f'scene_{capture}.png').write_bytes(pixels)
    page.click('nav button[data-section=captures]')
    page.wait_for_selector('#captures-folder option', state='attached')
    page.click('#check button[type=submit]')
    page.wait_for_selector('#audit-report:visible')
    report = page.frame_locator('#audit-report')
    assert 'suitable for training' in report.locator('h1').inner_text()
    page.fill('#pattern', '{nonsense}')
    page.click('#check button[type=submit]')
    assert '{nonsense}' in message(page)
    page.fill('#run-name', '../out')
    page.fill('#pattern', '')
    page.click('#train button[type=submit]')
    assert "'../out' cannot be the name of a folder" in message(page)


@pytest.mark.slow
def test_a_model_is_trained_stopped_resumed_scored_and_used(page, folder, monkeypatch):
    program = Path(__file__).with_name('tiny_program.py')
    monkeypatch.setattr(programs, 'command_line', lambda args: [sys.executable, program, *args])
    monkeypatch.setenv('XLA_FLAGS', '')
    monkeypatch.setenv('N2N_TEST_STEPS', '4000')
    page.set_default_timeout(10 * SECONDS)
    (folder / 'cells').mkdir()
    for capture in range(2):
        pixels = encoded(noisy_pixels(96, 96, seed=capture))
        (folder / 'cells' / f'scene_{capture}.png').write_bytes(pixels)

    def state(words):
        page.wait_for_selector(f'#trainings h2:text-is("runs/mine: {words}")')

    page.click('nav button[data-section=captures]')
    page.wait_for_selector('#captures-folder option[value=cells]', state='attached')
    page.click('#train button[type=submit]')
    state('training')
    page.wait_for_selector('#trainings svg.curve')  # a live curve
    page.reload()
    page.click('nav button[data-section=captures]')
    state('training')
    page.click('#trainings button:text-is("Stop")')
    state('stopped')
    page.click('#trainings button:text-is("Resume")')
    state('training')
    shot(page, 'training')
    state('complete')
    page.wait_for_selector('#trainings img.preview')
    page.click('#trainings button:text-is("Score")')
    page.wait_for_selector('#trainings .scores table')
    shot(page, 'trained')
    page.click('#trainings button:text-is("Denoise with it")')
    loaded(page, noisy_pixels(96, 96, seed=2))
    denoised(page)
    assert page.inner_text('#made-by') == 'Denoised by runs/mine.'
    page.click('nav button[data-section=runs]')
    page.click('#run-list button')
    report = page.frame_locator('#report')
    assert report.locator('h1').inner_text() == 'mine'


@pytest.mark.slow
def test_case_9_a_large_image_in_bounded_memory(page):
    """The memory itself is measured from outside, see docs/page.md."""
    chosen(page, ('large.png', encoded(np.tile(noisy_pixels(600, 800), (10, 10, 1)))))
    page.set_default_timeout(10 * SECONDS)
    page.wait_for_selector('#facts strong:text-is("large.png")')
    assert '8000×6000 pixels' in page.inner_text('#facts')
    page.click('#start')
    page.wait_for_selector('#progress-text:has-text("left")')  # tile by tile, with the time left
    page.wait_for_selector('#save:visible')
    page.click('#one')
    assert canvas_pixels(page).std() > 5
