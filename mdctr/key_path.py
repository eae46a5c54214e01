"""Paths of keys in nested settings, such as `dataset.features[3].name`."""

KeyPath = tuple[str | int, ...]


def dotted(path: KeyPath) -> str:
    """A path as errors write it."""
    text = ''
    for part in path:
        text += f'[{part}]' if isinstance(part, int) else f'.{part}' if text else part
    return text
