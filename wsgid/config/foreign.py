"""What becomes of a name that is no option of wsgid: an option of uWSGI, or a name that uWSGI does not know either.

Rules
* An option of uWSGI is a note, or a refusal with the remedy (uwsgi_options.py). The refusal also covers uWSGI's options
  for other languages.
* uWSGI takes a name that it does not know for a placeholder, in silence. So files in use have such names: mistakes that
  have done nothing for years. In a file of uWSGI's such a name is a warning here, or an error if the file has `strict`.
  On a command line it is an error.
"""

from collections.abc import Iterable

from wsgid.config import uwsgi_words
from wsgid.config.options import Given, by_key, nearest
from wsgid.errors import ConfigError
from wsgid.records import dataclass, field

FALSE = ("false", "off", "no", "0")


@dataclass(slots=True)
class Said:
    """The contents of one source.

    Args:
        given: the option values.
        notes: for --check, about options that have no effect.
        warnings: about options that may not mean what they seem to mean.
        complaints: its errors, one sentence each.
        words: uWSGI's options that it has, with their last values: those that show that it was written for uWSGI.
    """

    given: list[Given] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    words: dict[str, str] = field(default_factory=dict)


def take(said: Said, place: str, name: str, value: str, is_placeholder: bool = False) -> bool:
    """Add the note about an option of uWSGI. Returns False for a name that uWSGI does not know.

    Args:
        said: gets the note.
        place: where the name stands, as the beginning of a sentence: `uwsgi.ini:7: `.
        name: the name, as it is written.
        value: empty if there is none.
        is_placeholder: whether something refers to it as %(name).

    Raises:
        ConfigError: wsgid does not have this option.
    """
    from wsgid.config import uwsgi_options  # many rows, which most sites never need

    key = name.lstrip("-").removeprefix("UWSGI_").lower().replace("_", "-") if "UWSGI_" in name else name.lstrip("-")
    row = uwsgi_options.find(key, value, is_placeholder)
    if row is None:
        return False
    said.words[key] = value
    if row.verdict is uwsgi_options.Verdict.NEEDLESS:
        said.notes.append(f"{place}{name}: {row.text}")
    elif value.lower() in FALSE:
        said.notes.append(f"{place}{name} is off, as it is here")
    else:
        shown = f" = {value}" if value else ""
        raise ConfigError(f"{place}{name}{shown}: wsgid does not have this: {row.text}")
    return True


def similar(name: str) -> str:
    """Return the most similar name of an option as a question, or nothing."""
    return nearest(name, _names())


def _names() -> Iterable[str]:
    yield from (key for key in by_key() if "_" not in key)
    yield from uwsgi_words.names()
