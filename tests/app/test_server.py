"""The addresses of the page: what each answers, and what it refuses."""

import base64
import concurrent.futures
import contextlib
import http.client
import io
import zipfile

import numpy as np
import pytest
import requests
import tifffile
from command_line import n2n
from page_server import Client, Held, encoded, noisy_pixels, serving, use_tiny_models
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from n2n_jax.app import api_page, comparing
from n2n_jax.app.settings import Settings


@pytest.fixture(autouse=True)
def _models(tmp_path, monkeypatch):
    use_tiny_models(tmp_path / 'models', monkeypatch)


@pytest.fixture
def settings(tmp_path):
    (tmp_path / 'folder').mkdir()
    return Settings(
        tmp_path / 'folder', port=0, most_bytes=1 << 20, most_pixels=500_000, most_pictures=4
    )


@pytest.fixture
def site(settings):
    """A user of the page."""
    with serving(settings) as address, Client(address) as client:
        yield client


def another(site):
    """Another user of the same page."""
    return Client(site.site)


def upload(site, content, name='photo.png'):
    return site.post('/api/pictures', params={'name': name}, data=content)


def loaded(site, pixels, name='photo.png', kind='PNG'):
    answer = upload(site, encoded(pixels, kind), name)
    assert answer.status_code == 201, answer.text
    return answer.json()


def ended(site, answer):
    assert answer.status_code == 202, answer.text
    job = answer.json()
    while job['state'] in ('waiting', 'running'):
        job = site.get(f'/api/jobs/{job["id"]}', params={'wait': 5}).json()
    return job


def denoised(site, picture, **how):
    job = ended(site, site.post(f'/api/pictures/{picture["id"]}/denoise', json=how))
    assert job['state'] == 'done', job
    return site.get(f'/api/pictures/{picture["id"]}/result')


def test_the_result_is_that_of_n2n_denoise(site, tmp_path):
    picture = loaded(site, noisy_pixels(), 'my photo.jpg', 'JPEG')
    assert (picture['width'], picture['height'], picture['channels']) == (96, 64, 3)
    assert picture['model'] == 'gaussian-color'
    answer = denoised(site, picture)
    assert 'my%20photo_denoised.jpg' in answer.headers['content-disposition']
    (tmp_path / 'my photo.jpg').write_bytes(encoded(noisy_pixels(), 'JPEG'))
    assert n2n('denoise', tmp_path / 'my photo.jpg') == 0
    assert answer.content == (tmp_path / 'my photo_denoised.jpg').read_bytes()
    described = site.get(f'/api/pictures/{picture["id"]}').json()
    assert described['made_by'] == 'Denoised by gaussian-color.'


def test_strength_model_and_depth_are_kept(site):
    pixels_HW = np.uint16(noisy_pixels()[..., 0]) * 257
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.stack([pixels_HW] * 3), photometric='minisblack')
    picture = upload(site, buffer.getvalue(), 'stack.tif').json()
    assert (picture['images'], picture['type'], picture['model']) == (3, 'uint16', 'gaussian-gray')
    half = tifffile.imread(io.BytesIO(denoised(site, picture, strength=0.5).content))
    whole = tifffile.imread(io.BytesIO(denoised(site, picture, strength=1).content))
    assert (half.shape, half.dtype) == ((3, 64, 96), np.uint16)
    middle = (np.float64(pixels_HW) + whole) / 2
    inside = (whole > 0) & (whole < 65535)  # elsewhere it was clipped
    assert inside.mean() > 0.5
    assert np.abs(half - middle)[inside].max() <= 1
    color = denoised(site, picture, model='gaussian-color')
    assert color.content != denoised(site, picture).content
    refused = ended(site, site.post(f'/api/pictures/{picture["id"]}/denoise', json={'model': 'x'}))
    assert refused['state'] == 'failed'
    assert "There is no model 'x'" in refused['error']


@pytest.mark.parametrize(
    ('content', 'name'),
    [(b'hello', 'notes.txt'), (b'hello', 'photo.png'), (b'', 'photo.jpg'), (b'', ''),
     (encoded(noisy_pixels())[:2000], 'cut.png'), (b'II*\0' + b'\xff' * 100, 'odd.tif')],
)  # fmt: skip
def test_an_invalid_file_is_answered_by_a_request_for_a_valid_one(site, content, name):
    answer = upload(site, content, name)
    assert answer.status_code == 415
    error = answer.json()['error']
    assert 'lease upload a valid image file: PNG, JPEG, TIFF, BMP, WebP, EXR or NumPy' in error
    assert '/' not in error.replace('/', '', name.count('/'))  # no path of this machine
    assert site.get('/api/pictures').json() == []


def test_limits_name_what_was_exceeded(site):
    large = upload(site, b'\0' * ((1 << 20) + 1))
    assert large.status_code == 413
    assert 'larger than 1 MB' in large.json()['error']

    def parts():
        for _ in range(3):
            yield b'\0' * 500_000

    assert upload(site, parts()).status_code == 413  # without a length beforehand
    many = upload(site, encoded(np.zeros((1000, 501, 3), np.uint8)))
    assert many.status_code == 413
    assert '501x1000 pixels' in many.json()['error']
    for _ in range(4):
        loaded(site, noisy_pixels(16, 16))
    assert '4 pictures are here already' in upload(site, encoded(noisy_pixels())).json()['error']


def test_denoising_something_that_is_not_there_says_that_no_image_is_loaded(site):
    answer = site.post('/api/pictures/nothing/denoise', json={})
    assert answer.status_code == 404
    assert 'No image is loaded' in answer.json()['error']


def test_no_upload_while_denoising_and_the_job_is_unharmed(site, monkeypatch):
    held = Held(monkeypatch)
    picture = loaded(site, noisy_pixels())
    started = site.post(f'/api/pictures/{picture["id"]}/denoise', json={})
    assert held.begun.wait(30)
    refused = upload(site, encoded(noisy_pixels(16, 16)))
    assert refused.status_code == 409
    assert refused.json()['error'].startswith('Denoising is in progress: upload a new image when')
    with another(site) as other:
        assert upload(other, encoded(noisy_pixels(16, 16))).status_code == 201
    again = site.post(f'/api/pictures/{picture["id"]}/denoise', json={})
    assert again.status_code == 409
    held.let_go()
    assert ended(site, started)['state'] == 'done'
    assert upload(site, encoded(noisy_pixels(16, 16))).status_code == 201


def test_a_canceled_job_leaves_the_earlier_result(site, monkeypatch):
    picture = loaded(site, noisy_pixels())
    before = denoised(site, picture).content
    held = Held(monkeypatch)
    job = site.post(f'/api/pictures/{picture["id"]}/denoise', json={'strength': 0.1}).json()
    assert held.begun.wait(30)
    site.delete(f'/api/jobs/{job["id"]}')
    assert site.get(f'/api/jobs/{job["id"]}', params={'wait': 30}).json()['state'] == 'canceled'
    assert site.get(f'/api/pictures/{picture["id"]}/result').content == before


def test_users_do_not_see_each_other(site):
    picture = loaded(site, noisy_pixels())
    job = ended(site, site.post(f'/api/pictures/{picture["id"]}/denoise', json={}))
    with another(site) as other:
        assert other.get('/api/pictures').json() == []
        address = f'/api/pictures/{picture["id"]}'
        for path in ('', '/result', '/noisy/0/0/0/0.png'):
            assert other.get(address + path).status_code == 404
        assert other.get(f'/api/jobs/{job["id"]}').status_code == 404
        assert other.delete(address).status_code == 404
    assert len(site.get('/api/pictures').json()) == 1


def test_tiles_show_the_picture_its_result_and_what_was_removed(site):
    pixels = noisy_pixels()
    picture = loaded(site, pixels)
    result = np.asarray(Image.open(io.BytesIO(denoised(site, picture).content)))

    def tile(which, at='0/0/0/0'):
        return site.get(f'/api/pictures/{picture["id"]}/{which}/{at}.png')

    def shown(which):
        return np.asarray(Image.open(io.BytesIO(tile(which).content)))

    np.testing.assert_array_equal(shown('noisy'), pixels)
    np.testing.assert_array_equal(shown('denoised'), result)
    removed = np.clip(128 + 3 * (np.float32(pixels) - result), 0, 255)
    assert np.abs(shown('removed') - removed).max() <= 1
    for at in ('1/0/0/0', '0/5/0/0', '0/0/9/0', '-1/0/0/0'):
        assert tile('noisy', at).status_code == 404
    assert tile('error').status_code == 404  # there is no original
    assert tile('../../etc').status_code in (404, 422)


def test_scores_against_the_original_are_those_of_scikit_image(site):
    noisy, clean = noisy_pixels(600, 40), noisy_pixels(600, 40, seed=1)
    picture = loaded(site, noisy)
    denoised(site, picture)
    address = f'/api/pictures/{picture["id"]}/original'
    scores = site.post(address, params={'name': 'c.png'}, data=encoded(clean)).json()
    want = peak_signal_noise_ratio(clean, noisy)
    assert scores['noisy']['psnr'] == pytest.approx(want, abs=1e-3)
    assert scores['noisy']['mse'] == pytest.approx(10 ** (-want / 10), rel=1e-4)
    settings = {'gaussian_weights': True, 'use_sample_covariance': False, 'sigma': 1.5}
    x, y = noisy / 255, clean / 255
    means = structural_similarity(
        x, y, channel_axis=-1, data_range=1, win_size=11, full=True, **settings
    )[1][5:-5, 5:-5].mean()
    assert scores['noisy']['ssim'] == pytest.approx(means, abs=1e-4)
    assert set(scores) == {'noisy', 'denoised'}
    same = site.post(address, params={'name': 'c.png'}, data=encoded(noisy)).json()
    assert same['noisy'] == {'psnr': None, 'ssim': pytest.approx(1), 'mse': 0}  # infinite
    error = site.get(f'/api/pictures/{picture["id"]}/error/0/0/0/0.png')
    assert error.status_code == 200
    other = site.post(address, params={'name': 'c.png'}, data=encoded(noisy_pixels()))
    assert site.post(address, params={'name': 'c.png'}, data=b'hello').status_code == 415
    kept = site.get(f'/api/pictures/{picture["id"]}/error/0/0/0/0.png')
    assert kept.content == error.content  # the accepted original is not lost
    assert other.status_code == 422
    assert 'c.png is 96x64 with 3 channels, photo.png is 40x600' in other.json()['error']


def test_a_second_capture_gives_an_estimate_and_a_verdict(site):
    picture = loaded(site, noisy_pixels(96, 96), 'a.png')
    address = f'/api/pictures/{picture["id"]}/capture'
    second = encoded(noisy_pixels(96, 96, seed=1))
    job = ended(site, site.post(address, params={'name': 'b.png'}, data=second))
    assert job['state'] == 'done', job
    as_it_is, result = job['result']['estimates']
    assert (as_it_is['method'], result['method']) == ('as it is', 'denoised')
    assert as_it_is['psnr'] == pytest.approx(-20 * np.log10(20 / 255), abs=0.5)
    assert as_it_is['interval'][0] <= as_it_is['psnr'] <= as_it_is['interval'][1]
    assert job['result']['verdict'] in ('fine', 'warning', 'unusable')
    other = ended(site, site.post(address, params={'name': 'b.png'}, data=encoded(noisy_pixels())))
    assert (
        'b.png is 96x64 uint8 with 3 channels, a.png is 96x96 uint8 with 3 channels'
        in other['error']
    )


def test_a_trial_lists_models_and_baselines_best_first(site, monkeypatch):
    monkeypatch.setattr(comparing, 'TRIAL_BASELINES', ('median', 'tv'))  # others take seconds
    picture = loaded(site, noisy_pixels(48, 48))
    address = f'/api/pictures/{picture["id"]}/trial'
    job = ended(site, site.post(address, json={'noise': 'gaussian:25'}))
    assert job['state'] == 'done', job
    names = [tried['method'] for tried in job['result']]
    assert names[:2] == ['clean', 'noisy']
    assert {'gaussian-color', 'gaussian-gray', 'median', 'tv'} <= set(names[2:])
    values = [tried['psnr'] for tried in job['result'][2:]]
    assert values == sorted(values, reverse=True)
    assert job['result'][1]['psnr'] == pytest.approx(-20 * np.log10(25 / 255), abs=0.5)
    image = site.get(f'/api/jobs/{job["id"]}/0.png')
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(image.content))),
                                  noisy_pixels(48, 48))  # fmt: skip
    assert site.get(f'/api/jobs/{job["id"]}/99.png').status_code == 404
    for spec, words in [('nonsense', 'Unknown noise'), ('kernel_blur:/etc/passwd', 'reads a file')]:
        assert words in ended(site, site.post(address, json={'noise': spec}))['error']


def test_all_results_come_as_one_archive(site):
    assert 'No image is denoised' in site.get('/api/results.zip').json()['error']
    pictures = [loaded(site, noisy_pixels(16, 24, seed=i), 'same.png') for i in range(2)]
    results = [denoised(site, picture).content for picture in pictures]
    with zipfile.ZipFile(io.BytesIO(site.get('/api/results.zip').content)) as archive:
        assert archive.namelist() == ['same_denoised.png', 'same_denoised_2.png']
        assert [archive.read(name) for name in archive.namelist()] == results


def test_uploads_are_deleted_after_use(settings, tmp_path, monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    with serving(settings) as address, Client(address) as site:
        first, second = (loaded(site, noisy_pixels(16, 16)) for _ in range(2))
        assert len(list(tmp_path.glob('n2n_app_*/*/noisy.png'))) == 2
        assert site.delete(f'/api/pictures/{first["id"]}').status_code == 204
        assert len(list(tmp_path.glob('n2n_app_*/*/noisy.png'))) == 1
        pictures, user = address.state.pictures, site.cookies['n2n_user']
        pictures.find(user, second['id']).used -= 2 * settings.kept_seconds
        pictures.remove_old({user})
        assert len(site.get('/api/pictures').json()) == 1  # of a user with a job
        pictures.remove_old(set())
        assert site.get(f'/api/pictures/{second["id"]}').status_code == 404
        loaded(site, noisy_pixels(16, 16))
    assert list(tmp_path.glob('n2n_app_*')) == []


def test_requests_from_other_web_pages_are_refused(site):
    evil = site.post('/api/pictures?name=a.png', headers={'origin': 'http://evil.example'})
    assert evil.status_code == 403
    assert site.get('/', headers={'host': 'evil.example'}).status_code == 400
    own = site.post('/api/captures', json={'name': 'x'}, headers={'origin': site.site})
    assert own.status_code == 422


def test_other_machines_need_the_password(tmp_path):
    open_to_all = Settings(tmp_path, host='0.0.0.0', port=0, password='böse:1')
    with serving(open_to_all) as address, Client(address) as site:
        assert site.get('/').status_code == 401
        for given, status in [('x:böse:1', 200), ('x:other', 401), ('', 401)]:
            encoded_words = base64.b64encode(given.encode()).decode()
            answer = site.get('/', headers={'authorization': f'Basic {encoded_words}'})
            assert answer.status_code == status
        assert site.get('/', headers={'authorization': 'Basic !!'}).status_code == 401


def test_odd_headers_do_no_harm(site):
    loaded(site, noisy_pixels(16, 16))
    for headers in ({'host': '['}, {'origin': 'http://['}):
        raw = http.client.HTTPConnection(site.site.removeprefix('http://'), timeout=60)
        with contextlib.closing(raw):
            raw.request('POST', '/api/pictures?name=a.png', headers=headers)
            assert raw.getresponse().status == 400
    cookie = f'a[b]=1; prefs={{"a": 1}}; n2n_user={site.cookies["n2n_user"]}'
    answer = requests.get(f'{site.site}/api/pictures', headers={'cookie': cookie}, timeout=60)
    assert len(answer.json()) == 1  # cookies of other programs on this machine
    for path in ('/nothing', '/api/pictures/x/y'):
        assert site.get(path).json()['error'].startswith(f'GET {path}: ')
    answer = site.post('/api/trainings', data='{', headers={'content-type': 'application/json'})
    assert answer.json() == {'error': 'The request is not valid JSON.'}
    odd = site.post('/api/audits', json={'captures': '\ud800'})
    assert odd.status_code == 404


def test_those_who_wait_keep_nobody_else_waiting(site, monkeypatch):
    held = Held(monkeypatch)
    picture = loaded(site, noisy_pixels(16, 16))
    job = site.post(f'/api/pictures/{picture["id"]}/denoise', json={}).json()
    address, cookies = f'{site.site}/api/jobs/{job["id"]}?wait=30', dict(site.cookies)
    with concurrent.futures.ThreadPoolExecutor(50) as threads:
        waiting = [
            threads.submit(requests.get, address, cookies=cookies, timeout=60) for _ in range(50)
        ]
        for _ in range(3):
            assert site.get('/').status_code == 200
        assert not any(each.done() for each in waiting)
        held.let_go()
    assert {each.result().json()['state'] for each in waiting} == {'done'}


def test_removing_a_picture_ends_its_jobs(site, monkeypatch):
    held = Held(monkeypatch)
    picture = loaded(site, noisy_pixels(16, 16))
    job = site.post(f'/api/pictures/{picture["id"]}/denoise', json={}).json()
    assert held.begun.wait(30)
    assert site.delete(f'/api/pictures/{picture["id"]}').status_code == 204
    (found,) = site.get('/api/jobs').json()
    assert (found['id'], found['kind'], found['state']) == (job['id'], 'denoise', 'canceled')


def test_messages_name_the_upload_and_no_folder_of_this_machine(site):
    buffer = io.BytesIO()
    np.save(buffer, np.full((16, 16), 3, np.float32))
    picture = upload(site, buffer.getvalue(), 'even.npy').json()
    address = f'/api/pictures/{picture["id"]}/denoise'
    job = ended(site, site.post(address, json={'model': 'gaussian-gray'}))
    assert job['state'] == 'failed'
    assert job['error'].startswith('even.npy holds floating-point values')


def test_an_original_of_one_image_is_that_of_the_first_of_a_stack(site):
    buffer = io.BytesIO()
    stack = np.stack([noisy_pixels(24, 24, seed)[..., 0] for seed in range(2)])
    tifffile.imwrite(buffer, stack, photometric='minisblack')
    picture = upload(site, buffer.getvalue(), 'stack.tif').json()
    address = f'/api/pictures/{picture["id"]}'
    original = encoded(noisy_pixels(24, 24, seed=5)[..., 0])
    assert site.post(f'{address}/original?name=c.png', data=original).status_code == 200
    codes = [site.get(f'{address}/error/{index}/0/0/0.png').status_code for index in range(2)]
    assert codes == [200, 404]


def test_nothing_comes_from_elsewhere(site):
    page = site.get('/')
    assert "default-src 'self'" in page.headers['content-security-policy']
    for path in ('/', '/docs', '/static/app.js', '/static/style.css', '/static/viewer.js'):
        answer = site.get(path)
        assert answer.status_code == 200
        elsewhere = answer.text.replace('http://localhost', '').replace('http://www.w3.org', '')
        assert 'http://' not in elsewhere
        assert 'https://' not in elsewhere
    for path in ('/static/../server.py', '/static/%2e%2e/server.py', '/static//etc/passwd'):
        assert site.get(path).status_code == 404


def test_the_description_for_programs_lists_every_address(site):
    schema = site.get('/openapi.json').json()
    page = site.get('/docs').text
    for path, methods in schema['paths'].items():
        assert path in page
        assert all(each.get('description') for each in methods.values()), path


def test_the_example_for_programs_runs(site, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'photo.jpg').write_bytes(encoded(noisy_pixels(), 'JPEG'))
    exec(api_page.CLIENT.replace('http://localhost:7860', site.site), {})
    with Image.open(tmp_path / 'photo_denoised.jpg') as result:
        assert (result.size, result.format) == ((96, 64), 'JPEG')


def test_values_out_of_bounds_are_told_in_a_sentence(site):
    picture = loaded(site, noisy_pixels(16, 16))
    answer = site.post(f'/api/pictures/{picture["id"]}/denoise', json={'strength': 2})
    assert answer.status_code == 422
    assert answer.json()['error'].startswith('strength: Input should be less than or equal to 1')
