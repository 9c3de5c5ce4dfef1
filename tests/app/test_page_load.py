"""Many users at once, the short version of `n2n_jax.bench.page_load`."""

from page_server import serving, use_tiny_models

from n2n_jax.app.settings import Settings
from n2n_jax.bench import page_load


def test_every_user_gets_the_answers_to_their_own_pictures(tmp_path, monkeypatch):
    use_tiny_models(tmp_path / 'models', monkeypatch)
    (tmp_path / 'folder').mkdir()
    with serving(Settings(tmp_path / 'folder', port=0)) as address:
        found = page_load.load(address, users=2, images=10, model='gaussian-color')
        assert address.state.queue.users() == set()
        assert not address.state.pictures._pictures
    assert found.errors == []
    assert (found.right, found.wrong, found.refused) == (16, 0, 2)
    assert found.canceled + found.raced == 2
