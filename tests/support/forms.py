"""The sources of the hot path, read as text.

    declared(path)  -> what a .pxd declares
    defined(path)   -> what a .pyx makes public
    written(path)   -> what a .py has

Rules
* A .pxd and a .pyx are read line by line with regular expressions, because they use a small part of Cython's language.
* A signature is the names of the arguments in their order. A name ends with "=" if the argument may be left out.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

Signature = tuple[str, ...]

_CLASS = re.compile(r"cdef class (\w+)(?:\((\w+)\))?:")
_FUNCTION = re.compile(r"(?:cp?def|def)\s+(?:[\w.\[\]: ]+\s)?(\w+)\((.*)\)")
_ATTRIBUTE = re.compile(r"cdef (readonly |public )?(.+)")
_LOCALS = re.compile(r"@cython\.locals\((.*)\)")
_CONSTANT = re.compile(r"(\w+) = ")


@dataclass
class Class:
    """A class, with all on which both sources of a module have to agree."""

    bases: list[str] = field(default_factory=list)
    attributes: set[str] = field(default_factory=set)
    methods: dict[str, Signature] = field(default_factory=dict)


@dataclass
class Source:
    """A file of a module."""

    classes: dict[str, Class] = field(default_factory=dict)
    functions: dict[str, Signature] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)  # variables of the module
    locals: dict[str, set[str]] = field(default_factory=dict)  # "Class.method" -> names that are used within

    def public(self) -> "Source":
        """The names that users of the module see."""
        return Source(
            {
                name: Class(
                    found.bases, _public(found.attributes), {key: found.methods[key] for key in _public(found.methods)}
                )
                for name, found in self.classes.items()
                if not name.startswith("_")
            },
            {name: self.functions[name] for name in _public(self.functions)},
            _public(self.names),
        )


def _public(names: "set[str] | dict[str, Signature]") -> set[str]:
    return {name for name in names if not name.startswith("_") or name == "__init__"}


# --- Cython's files ---


def _statements(text: str) -> Iterator[str]:
    """The statements with their indentation and without comments. A statement over several lines becomes one line."""
    gathered = ""
    for line in text.splitlines():
        line = re.sub(r"\s*#.*", "", line)
        gathered = f"{gathered} {line.strip()}" if gathered else line
        if gathered.count("(") > gathered.count(")"):
            continue
        if gathered.strip():
            yield gathered
        gathered = ""


def _variables(text: str) -> list[str]:
    """The names in `int a, b`, or in `bytes buffer, Py_ssize_t size=*`. A name ends with "=" if it has a value."""
    found = []
    for piece in re.split(r",(?![^\[\"]*[\]\"])", text):
        name, equals, _ = piece.replace(" not None", "").partition("=")
        if words := re.findall(r"\w+", name):
            found.append(words[-1] + equals)
    return found


def declared(path: Path) -> Source:
    """What a .pxd declares: classes with attributes and methods, functions, variables, and the local variables with a
    type."""
    found, inside, local_names = Source(), "", set[str]()
    for statement in _statements(path.read_text()):
        line = statement.strip()
        if not statement.startswith(" "):
            inside = ""
        if match := _CLASS.fullmatch(line):
            inside = match[1]
            found.classes[inside] = Class([match[2]] if match[2] else [])
        elif match := _LOCALS.fullmatch(line):
            local_names = {name.rstrip("=") for name in re.findall(r"(\w+)=", match[1])}
        elif match := _FUNCTION.match(line):
            _keep(found, inside, match[1], match[2], local_names)
            local_names = set()
        elif (match := _ATTRIBUTE.fullmatch(line)) and not line.endswith(":"):
            (found.classes[inside].attributes if inside else found.names).update(_variables(match[2]))
    return found


def defined(path: Path) -> Source:
    """What Python code may see of a .pyx."""
    found, inside = Source(), ""
    for statement in _statements(re.sub(r'"""(.*?)"""', "", path.read_text(), flags=re.S)):
        line = statement.strip()
        if not statement.startswith(" "):
            inside = ""
        if match := _CLASS.fullmatch(line):
            inside = match[1]
            found.classes[inside] = Class()
        elif statement.startswith((" " * 5, "cdef extern", "cdef enum")):
            continue
        elif (
            line.startswith(("def ", "cpdef "))
            and (match := _FUNCTION.match(line))
            and (inside or not statement.startswith(" "))
        ):
            _keep(found, inside, match[1], match[2], set())
        elif inside and (match := _ATTRIBUTE.fullmatch(line)) and match[1]:
            found.classes[inside].attributes.update(_variables(match[2]))
        elif not statement.startswith(" ") and (match := _CONSTANT.match(line)):
            found.names.add(match[1])
    return found


def _keep(found: Source, inside: str, name: str, arguments: str, local_names: set[str]) -> None:
    signature = tuple(argument for argument in _variables(arguments) if argument != "self")
    (found.classes[inside].methods if inside else found.functions)[name] = signature
    if local_names:
        found.locals[f"{inside}.{name}" if inside else name] = local_names


# --- Python's ---


def written(path: Path) -> Source:
    """What a .py has under the same names."""
    found = Source()
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.ClassDef():
                found.classes[node.name] = _class(node)
                for method in _functions(node):
                    found.locals[f"{node.name}.{method.name}"] = _used(method)
            case ast.FunctionDef():
                found.functions[node.name] = _signature(node)
                found.locals[node.name] = _used(node)
            case ast.Assign() | ast.AnnAssign():
                found.names |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name) and _is_stored(name)}
    return found


def _functions(node: ast.ClassDef) -> list[ast.FunctionDef]:
    return [each for each in node.body if isinstance(each, ast.FunctionDef)]


def _class(node: ast.ClassDef) -> Class:
    fields = {
        each.target.id for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }
    of_self = {
        each.attr
        for method in _functions(node)
        for each in ast.walk(method)
        if isinstance(each, ast.Attribute) and _is_stored(each)
        if isinstance(each.value, ast.Name) and each.value.id == "self"
    }
    return Class(
        [base.id for base in node.bases if isinstance(base, ast.Name)],
        fields | of_self,
        {method.name: _signature(method) for method in _functions(node) if not method.decorator_list},
    )


def _is_stored(node: ast.Name | ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store)


def _signature(node: ast.FunctionDef) -> Signature:
    arguments = [argument.arg for argument in node.args.args]
    first_default = len(arguments) - len(node.args.defaults)
    with_defaults = [name + "=" * (number >= first_default) for number, name in enumerate(arguments)]
    return tuple(name for name in with_defaults if name != "self")


def _used(node: ast.FunctionDef) -> set[str]:
    """The arguments and variables that a function uses."""
    names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return names | {each.arg for each in ast.walk(node) if isinstance(each, ast.arg)}
