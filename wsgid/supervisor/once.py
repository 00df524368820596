"""Remembers what was reported already, so that a report of several processes counts once."""

_TEXTS_MAX = 1000


class Once:
    """Remembers texts."""

    def __init__(self) -> None:
        self._texts: set[str] = set()

    def is_new(self, text: str) -> bool:
        """Whether this text is new. Then it is remembered."""
        if text in self._texts:
            return False
        if len(self._texts) >= _TEXTS_MAX:  # a repeated log line is better than a set that grows for ever
            self._texts.clear()
        self._texts.add(text)
        return True
