"""What counts once, however many processes report it."""

_TEXTS_MAX = 1000


class Once:
    """Remembers texts."""

    def __init__(self) -> None:
        self._texts: set[str] = set()

    def is_new(self, text: str) -> bool:
        """Whether this is the first time; then it is remembered."""
        if text in self._texts:
            return False
        if len(self._texts) >= _TEXTS_MAX:  # rather say something twice than grow for ever
            self._texts.clear()
        self._texts.add(text)
        return True
