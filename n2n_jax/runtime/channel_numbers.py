"""Numbers of a config that may be given for each channel."""

import math

from n2n_jax.runtime.errors import UserError


def numbers(text: str, key: str, channels: int) -> tuple[float, ...]:
    """Parses '0.01,0.02' to one number per channel; a single number applies to all channels.

    Raises:
      UserError: the text is not a list of finite numbers, or has a wrong number of them.
    """
    try:
        found = tuple(float(part) for part in text.split(','))
    except ValueError:
        found = ()
    if len(found) == 1:
        found *= channels
    if len(found) != channels or not all(map(math.isfinite, found)):
        raise UserError(
            f"{key}='{text}' must be one number, or one for each of the {channels} channels, "
            'separated by commas.'
        )
    return found
