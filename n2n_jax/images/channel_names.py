"""What channels are called in messages."""

_COLORS = ('red', 'green', 'blue')


def channel_names(num: int) -> tuple[str, ...]:
    """'red', 'green', 'blue' of three; 'channel 1' and so on of others; '' of a single one."""
    if num == 1:
        return ('',)
    return _COLORS if num == len(_COLORS) else tuple(f'channel {k + 1}' for k in range(num))
