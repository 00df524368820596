"""`dataclass` and the functions around it, as in the standard library, but quick to import (docs/decisions/028).

    from wsgid.records import asdict, dataclass, field, fields, replace

Rules
* What is here behaves as in `dataclasses`; type checkers see that module.  Only what wsgid uses is here.  A subclass of
  such a class has no fields of its own.
* The functions of a class are shared by all classes. Only __init__ belongs to one class, and is compiled when the
  second object is made: many classes have one object in a process, and to compile the __init__ of a class with a
  hundred fields takes milliseconds.
* The hot path's classes are no dataclasses.
"""

from typing import TYPE_CHECKING

__all__ = ["FrozenInstanceError", "asdict", "dataclass", "field", "fields", "replace"]

if TYPE_CHECKING:
    from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace
else:
    _MISSING = object()
    _FIELDS = "__record_fields__"  # not __dataclass_fields__: dataclasses.fields() would find nothing there, silently

    class FrozenInstanceError(AttributeError):
        """An attribute of a frozen object cannot be set."""

    class Field:
        """One field of a class."""

        __slots__ = ("default", "default_factory", "init", "metadata", "name")

        def __init__(self, default, default_factory, init, metadata):
            self.name = ""  # dataclass() knows it
            self.default = default
            self.default_factory = default_factory
            self.init = init
            self.metadata = metadata

    def field(*, default=_MISSING, default_factory=_MISSING, init=True, metadata=None):
        """Return a field with more than a default. See dataclasses.field."""
        return Field(default, default_factory, init, metadata or {})

    def dataclass(cls=None, /, *, frozen=False, slots=False):
        """Give a class __init__, __repr__, __eq__, and __hash__ if it is frozen. See dataclasses.dataclass."""
        if cls is None:
            return lambda decorated: _made(decorated, frozen, slots)
        return _made(cls, frozen, slots)

    def fields(of):
        """Return the fields of a class or an object."""
        return tuple(getattr(of, _FIELDS))

    def replace(old, /, **changes):
        """Return a copy with other values in some fields."""
        kept = {each.name: getattr(old, each.name) for each in fields(old) if each.init and each.name not in changes}
        return type(old)(**kept, **changes)

    def asdict(of):
        """Return the fields as a dict, also those of dataclasses inside of it, of its lists, tuples and dicts."""
        return {each.name: _plain(getattr(of, each.name)) for each in fields(of)}

    def _plain(value):
        if hasattr(type(value), _FIELDS):
            return asdict(value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):  # a named tuple
            return type(value)(*map(_plain, value))
        if isinstance(value, (list, tuple)):
            return type(value)(map(_plain, value))
        if isinstance(value, dict):
            return type(value)((_plain(key), _plain(each)) for key, each in value.items())
        return value

    def _made(cls, frozen, slots):
        found = [_field(cls, name) for name in cls.__annotations__]
        added = {
            _FIELDS: found,
            "__init__": _first_init,
            "__repr__": _repr,
            "__eq__": _eq,
            "__match_args__": tuple(each.name for each in found if each.init),
            **({"__hash__": _hash, "__setattr__": _refuse, "__delattr__": _refuse} if frozen else {"__hash__": None}),
        }
        names = [each.name for each in found]
        own = {name: value for name, value in cls.__dict__.items() if name not in ("__dict__", "__weakref__")}
        if own.get("__hash__", _MISSING) is None:  # Python sets it beside an __eq__ of the class itself
            del own["__hash__"]
        own = {name: value for name, value in own.items() if name not in names}
        if slots:
            added["__slots__"] = tuple(names)
        else:
            own |= {each.name: each.default for each in found if each.default is not _MISSING}
        made = type(cls)(cls.__name__, cls.__bases__, {**added, **own})
        made.__qualname__ = cls.__qualname__
        return made

    def _field(cls, name):
        value = cls.__dict__.get(name, _MISSING)
        made = value if isinstance(value, Field) else Field(value, _MISSING, True, {})
        made.name = name
        return made

    def _first_init(self, *values, **named):
        """Be the __init__ for the first object of a class."""
        cls = _owner(type(self), _first_init)
        cls.__init__ = _compile_init
        names = [each.name for each in fields(cls) if each.init]
        given = {**dict(zip(names, values)), **named}
        if len(given) != len(values) + len(named) or not given.keys() <= set(names) or _lacks(cls, given):
            return cls.__init__(self, *values, **named)  # which says what is wrong
        for each in fields(cls):
            if each.name in given:
                object.__setattr__(self, each.name, given[each.name])
            elif each.default_factory is not _MISSING:
                object.__setattr__(self, each.name, each.default_factory())
            elif each.default is not _MISSING:
                object.__setattr__(self, each.name, each.default)
        if hasattr(cls, "__post_init__"):
            self.__post_init__()

    def _owner(cls, init):
        """Return the class that has this __init__: `cls` itself, or a base."""
        return next(each for each in cls.__mro__ if each.__dict__.get("__init__") is init)

    def _lacks(cls, given):
        """Whether a field without a default has no value."""
        return any(
            each.init and each.default is _MISSING and each.default_factory is _MISSING and each.name not in given
            for each in fields(cls)
        )

    def _compile_init(self, *values, **named):
        """Be the __init__ for the second object of a class: compile the real one, and call it."""
        cls = _owner(type(self), _compile_init)
        known = {"_MISSING": _MISSING, "_set": object.__setattr__}
        parameters, lines = ["self"], []
        for each in fields(cls):
            name, default, value = each.name, f"_default_{each.name}", each.name
            if each.default_factory is not _MISSING:
                known[default] = each.default_factory
                value = f"{default}() if {name} is _MISSING else {name}" if each.init else f"{default}()"
                parameters += [f"{name}=_MISSING"] if each.init else []
            elif each.default is not _MISSING:
                known[default] = each.default
                parameters += [f"{name}={default}"] if each.init else []
                value = name if each.init else default
            elif each.init:
                parameters.append(name)
            else:
                continue  # __post_init__ sets it
            lines.append(f"    _set(self, {name!r}, {value})\n")
        if hasattr(cls, "__post_init__"):
            lines.append("    self.__post_init__()\n")
        source = f"def __init__({', '.join(parameters)}):\n{''.join(lines) or '    pass'}"
        exec(source, known)  # made of the names of fields, as in dataclasses  # nosec B102
        cls.__init__ = known["__init__"]
        cls.__init__.__qualname__ = f"{cls.__qualname__}.__init__"
        cls.__init__(self, *values, **named)

    def _values(of):
        return tuple(getattr(of, each.name) for each in fields(of))

    def _repr(self):
        inside = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in fields(self))
        return f"{type(self).__qualname__}({inside})"

    def _eq(self, other):
        return _values(self) == _values(other) if type(other) is type(self) else NotImplemented

    def _hash(self):
        return hash(_values(self))

    def _refuse(self, name, *value):
        raise FrozenInstanceError(f"cannot change field {name!r}")
