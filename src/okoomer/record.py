"""Immutable typed records at the price of a tuple.

The guard stays resident in locked memory, so it cannot afford `dataclasses` (about 3 MiB) or `typing` (2 MiB).
A subclass of `Record` declares annotated fields, with defaults if it likes, and gets what a frozen dataclass
would give: a checked constructor, attribute access, equality, hash and repr. Type checkers understand it through
`dataclass_transform`; at run time a record is a tuple whose items have names.

    class Swap(Record):
        total: int
        free: int = 0

Modules that define records must import annotations from `__future__`, so that the annotations are never evaluated.
"""

from __future__ import annotations

from _collections import _tuplegetter  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, ClassVar, TypeVar, dataclass_transform

    R = TypeVar("R", bound="Record")
    # A checker that saw the tuple would check constructor calls against tuple's own.
    _Base = object
else:
    _Base = tuple

    def dataclass_transform(**_options):
        return lambda decorated: decorated


#: The defaults of those who have none.
_NONE: dict[str, Any] = {}
#: What gives the items of any record, the first, the second and so on.
_ITEMS: list[Any] = []


@dataclass_transform(frozen_default=True)
class RecordType(type):
    """Turns the annotations of a class body into the items of a tuple."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> RecordType:
        # The annotations themselves are of no use to anybody, but a kilobyte.
        fields = tuple(namespace.pop("__annotations__", ()))
        namespace["__slots__"] = ()
        namespace["__match_args__"] = namespace["_fields"] = fields
        namespace["_defaults"] = {field: namespace.pop(field) for field in fields if field in namespace} or _NONE
        _ITEMS.extend(_tuplegetter(index, None) for index in range(len(_ITEMS), len(fields)))
        namespace.update(zip(fields, _ITEMS, strict=False))
        return super().__new__(mcls, name, bases, namespace)


class Record(_Base, metaclass=RecordType):
    """Base of all records; see the module's text."""

    if TYPE_CHECKING:
        _fields: ClassVar[tuple[str, ...]]
        _defaults: ClassVar[dict[str, Any]]

        def __iter__(self) -> Iterator[Any]: ...

    else:

        def __new__(cls, *given, **named):
            if named or len(given) != len(cls._fields):
                given = _completed(cls, given, named)
            return tuple.__new__(cls, given)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and tuple.__eq__(self, other)  # type: ignore[operator]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((type(self).__name__, tuple(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in zip(self._fields, self, strict=True))})"


def _completed(kind: type[Record], given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
    """All fields of a record, some of which were given by name, or not at all."""
    defaults, fields = kind._defaults, kind._fields
    try:
        rest = [named.pop(field) if field in named else defaults[field] for field in fields[len(given) :]]
    except KeyError as error:
        raise TypeError(f"{kind.__name__} needs the field {error}") from None
    if named or len(given) > len(fields):
        raise TypeError(f"{kind.__name__} has the fields {', '.join(fields)}, each once")
    return (*given, *rest)


def replace(record: R, **changes: Any) -> R:
    """The same record with some fields changed.

    Raises:
        TypeError: A change names a field that the record does not have.
    """
    return type(record)(**(dict(zip(record._fields, record, strict=True)) | changes))


def to_plain(value: Any) -> Any:
    """A record, however deep, as tuples that `marshal` can write: records become (class name, item, ...)."""
    if isinstance(value, Record):
        return (type(value).__name__, *(to_plain(item) for item in value))
    if isinstance(value, tuple):
        return ("", *(to_plain(item) for item in value))
    return value


def from_plain(value: Any, classes: Mapping[str, type[Record]]) -> Any:
    """The inverse of `to_plain`.

    Raises:
        KeyError: A record's class is not among `classes`.
    """
    if not isinstance(value, tuple):
        return value
    items = [from_plain(item, classes) for item in value[1:]]
    return classes[value[0]](*items) if value[0] else tuple(items)
