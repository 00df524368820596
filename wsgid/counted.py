"""Numbers with their nouns, for sentences: 1 worker, 2 workers."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, which gets an s for all numbers but 1."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
