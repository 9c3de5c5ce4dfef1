"""The page with tiny models, for tests: in this process, or for a browser."""

import contextlib
import io
import threading
import time

import numpy as np
import requests
import uvicorn
from PIL import Image
from random_variables import random_variables

from n2n_jax.app import denoising, server
from n2n_jax.app.settings import Settings
from n2n_jax.models import model_file, zoo
from n2n_jax.models.model_file import Trained
from n2n_jax.runtime.config import ModelConfig


class Client(requests.Session):
    """A user of the page; addresses are given from their first slash on."""

    def __init__(self, site):
        super().__init__()
        self.site = site
        self.trust_env = False  # no proxy

    def request(self, method, path, **options):
        return super().request(method, self.site + path, timeout=120, **options)


def use_tiny_models(folder, monkeypatch):
    """Lets a color model and a gray one, of random weights, be those that come with n2n_jax."""
    monkeypatch.setattr(zoo, 'FOLDER', folder)
    for name, channels in (('gaussian-color', 3), ('gaussian-gray', 1)):
        config = ModelConfig(name='tiny', channels=channels)
        model_file.write(zoo.file_of(name), Trained(config, random_variables(config), step=1))


def noisy_pixels(height=64, width=96, seed=0):
    """A shaded color image with noise, (H, W, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    shade_HW = 60 + 80 * y / height + 60 * (x > width / 2)
    noise_HWC = np.random.default_rng(seed).normal(0, 20, (height, width, 3))
    return np.uint8(np.clip(shade_HW[..., None] + noise_HWC, 0, 255))


def encoded(pixels, kind='PNG'):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


class Held:
    """Stands in for the work of denoising: each job goes on until it is let go or canceled."""

    def __init__(self, monkeypatch):
        self.begun, self._go = threading.Event(), threading.Event()
        real = denoising.denoise

        def slow(picture, request, models, job):
            job.total = 10
            self.begun.set()
            while not self._go.wait(0.02):
                job.advance()
            job.total = 0
            return real(picture, request, models, job)

        monkeypatch.setattr(denoising, 'denoise', slow)

    def let_go(self):
        self._go.set()


class Site(str):
    """The address of a page that is served, and its state."""

    state = None


@contextlib.contextmanager
def serving(settings: Settings):
    """Serves the page at a free port; yields its address, with its state as attribute."""
    with server.listening(settings) as listener:
        page = server.create(settings)
        running = uvicorn.Server(
            uvicorn.Config(page, log_level='warning', timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=running.run, kwargs={'sockets': [listener]})
        thread.start()
        try:
            while not running.started:
                assert thread.is_alive()
                time.sleep(0.01)
            site = Site(f'http://localhost:{listener.getsockname()[1]}')
            site.state = page.app.state.shared
            yield site
        finally:
            running.should_exit = True
            thread.join()
