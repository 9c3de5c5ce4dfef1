"""Tells whether two configs belong to the same run: resumable changes, and the hash of a config."""

import hashlib
import json
from typing import Any

from n2n_jax.runtime.config import Config, flatten
from n2n_jax.runtime.config_versions import RENAMED

# Sections and keys that may differ when a run is resumed: they do not affect the weights. (On
# accelerators the cadences decide how many steps a dispatch has, which may change the last bits.)
FREE_ON_RESUME = (
    'eval',
    'model.remat',
    'train.log_every',
    'train.checkpoint_every',
    'train.keep_checkpoints',
    'train.patience',
    'train.patience_from',
    'train.profile_steps',
    'train.tensorboard',
    'train.distributed',
)

# A renamed key is hashed under its first name, so that hashes of old runs stay comparable.
_HASHED_AS = {new: old for old, new in RENAMED.items()}

# Values of keys that are younger than published hashes, where they leave everything as it was.
_NOT_HASHED = (
    ('imports', ''),
    ('model.planes', ''),
    ('model.noise_map', False),
    ('optim.pyramid', 0.0),
    ('optim.skip_above', 0.0),
    ('data.mix', 0.0),
    ('data.max_images', 0),
)


def changes_on_resume(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Returns the keys that keep `new` from resuming a run of `old`, with old and new value."""
    old_flat, new_flat = flatten(old), flatten(new)
    return {
        key: (old_flat[key], new_flat[key])
        for key in old_flat
        if old_flat[key] != new_flat[key] and not may_change(key)
    }


def config_hash(config: Config) -> str:
    """Returns the SHA-256 of all that affects the weights but the seed: repeated runs share it."""
    kept = {
        _HASHED_AS.get(key, key): value
        for key, value in flatten(config).items()
        if not may_change(key) and key != 'seed' and (key, value) not in _NOT_HASHED
    }
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def may_change(key: str) -> bool:
    """Checks whether a run may be resumed with another value of a key such as 'data.crop'."""
    return key in FREE_ON_RESUME or key.split('.')[0] in FREE_ON_RESUME
