"""Names of image channels in messages."""

_COLORS = ('red', 'green', 'blue')


def channel_names(num: int) -> tuple[str, ...]:
    """Returns '' for one channel; 'red', 'green', 'blue' for three; else 'channel 1', ..."""
    if num == 1:
        return ('',)
    return _COLORS if num == len(_COLORS) else tuple(f'channel {k + 1}' for k in range(num))
