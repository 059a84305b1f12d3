"""The normalizer: messages of several formats become one model, the canonical one.

- Which translator reads a message is decided by its content type, then by its shape; two that fit are an error, as a
  guess would be wrong one day.
- Everything here is pure: a message that cannot be read today cannot be read tomorrow. So every failure is
  ``Unreadable``; a subscription makes it a dead letter, which is sent again when the cause is removed.
- Documents of earlier versions of the model pass its upcasters, one version at a time, then the model itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, NoReturn, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from ...orchestrator.messages.texts import said
from ...sagas import DefinitionError
from ...sagas.contract import check_name
from ...sagas.given import check_count
from ...sagas.models import Unwritable, mistakes, read, write
from ..errors import Unreadable
from .binary import Avro, Protobuf
from .formats import Csv, Format, Json, Parsed, Unfit
from .media import MediaType, media_type, media_type_of
from .xml import Xml

__all__ = ["Normalizer"]

M = TypeVar("M", bound=BaseModel)
B = TypeVar("B")
Document: TypeAlias = Mapping[str, object]
When: TypeAlias = str | Collection[str] | Callable[[Any], bool] | None
"""A name or names that the shape has, or a function of the body; None: any shape."""
_VERSIONS_MAX: Final = 10_000
_BYTES_MAX: Final = 64 * 1024 * 1024
_ALIASES: Final = {
    "text/json": "application/json",
    "application/csv": "text/csv",
    "text/xml": "application/xml",
    "avro/binary": "application/avro",
    "application/x-avro": "application/avro",
    "application/vnd.apache.avro": "application/avro",
    "application/vnd.apache.avro+binary": "application/avro",
    "application/x-protobuf": "application/protobuf",
    "application/vnd.google.protobuf": "application/protobuf",
}
"""Other names for the same."""


@dataclass(frozen=True, slots=True)
class _Translator:
    name: str
    kind: MediaType
    format: Format
    when: When
    version: int
    function: Callable[[Any], object]

    def fits(self, parsed: Parsed) -> bool:
        if callable(self.when):
            try:
                return bool(self.when(parsed.body))
            except Exception:  # it asks for what this shape lacks
                return False
        wanted = {self.when} if isinstance(self.when, str) else self.when or ()
        return parsed.names.issuperset(wanted)


class Normalizer(Generic[M]):
    """Reads messages of foreign formats, and of earlier versions, as one model. Never changes or fetches anything.

    Give it as ``model`` to ``@worker.consumes(topic, model=orders)``, or call ``read``.

    Args:
        model: the canonical model.
        version: its version, from 1; raise it with a change that old documents do not fit, and declare an upcaster.
        name: of its own content type, ``application/vnd.{name}+json``; None: the model's, in lower case.

    Raises:
        DefinitionError: not a model, a version that is no whole number from 1, or no name.
    """

    def __init__(self, model: type[M], *, version: int = 1, name: str | None = None) -> None:
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise DefinitionError(f"Normalizer({model!r}): give a class derived from pydantic.BaseModel")
        check_count(f"Normalizer({model.__name__}): version", version, 1, _VERSIONS_MAX)
        name = model.__name__.lower() if name is None else name
        check_name(f"Normalizer({model.__name__}): name", name)
        self._model, self._version = model, version
        self._own = f"application/vnd.{name}+json"
        self._translators: list[_Translator] = []
        self._upcasters: dict[int, Callable[[dict[str, Any]], Document]] = {}

    def __repr__(self) -> str:
        return f"Normalizer({self._model.__name__}, version={self._version})"

    @property
    def model(self) -> type[M]:
        """The canonical model."""
        return self._model

    @property
    def content_type(self) -> str:
        """Of what ``write`` gives, with the version: send it as the header ``content-type``."""
        return f"{self._own}; version={self._version}"

    def upcasts(
        self, *, from_version: int
    ) -> Callable[[Callable[[dict[str, Any]], Document]], Callable[[dict[str, Any]], Document]]:
        """Declares ``def upcast(document: dict) -> dict``: a document of one version becomes one of the next.

        Args:
            from_version: 1 to the version before the model's.

        Raises:
            DefinitionError: not such a version, a second upcaster for it, or not a plain function of one parameter.
        """
        check_count(f"{self!r}.upcasts: from_version", from_version, 1, max(self._version - 1, 1))
        if from_version >= self._version:
            raise DefinitionError(f"{self!r} has no version to upcast to; raise its version first")

        def declared(function: Callable[[dict[str, Any]], Document]) -> Callable[[dict[str, Any]], Document]:
            if from_version in self._upcasters:
                raise DefinitionError(f"{self!r} has an upcaster from version {from_version}; remove one of the two")
            _check_function(f"{self!r}.upcasts", function)
            self._upcasters[from_version] = function
            return function

        return declared

    def translates(
        self,
        content_type: str,
        *,
        when: When = None,
        version: int | None = None,
        schema: Mapping[str, Any] | None = None,
        message: type[Any] | None = None,
        delimiter: str = ",",
    ) -> Callable[[Callable[[B], M | Document]], Callable[[B], M | Document]]:
        """Declares ``def translate(body) -> model``, for messages of a content type and a shape.

        The body is for JSON the value, for CSV a list of rows (dicts of texts by column), for XML the root as an lxml
        element, for Avro the datum, for Protobuf the message.

        Args:
            content_type: ``application/json``, ``text/csv``, ``application/xml``, ``application/avro``,
                ``application/protobuf``, or any that ends with ``+json`` or ``+xml``. Parameters that it has, such as
                ``application/protobuf; message=acme.Order``, must be in the message's too.
            when: the shape: names that must all be there (keys of JSON or of the datum, columns, fields of the message
                that are set; of XML the root's tag, with or without ``{namespace}``), or a function of the body that
                returns True (one that raises says no). None: any shape that no other translator takes, and only
                of messages with a content type.
            version: of the document that the function returns as a dict; None: the model's.
            schema: for Avro, that of the writer.
            message: for Protobuf, the generated class.
            delimiter: for CSV, one character.

        Raises:
            DefinitionError: a content type of no known format, a missing or superfluous schema or message, a version
                without upcasters (declare them before), a library that is not installed, or not a plain function of one
                parameter.
        """
        at = f"{self!r}.translates({content_type!r})"
        try:
            kind = _plain(media_type(content_type))
        except (ValueError, AttributeError, TypeError) as error:
            raise DefinitionError(f"{at}: not a content type; give one such as 'application/json'") from error
        form = _format(at, kind, schema=schema, message=message, delimiter=delimiter)
        since = self._version if version is None else version
        check_count(f"{at}: version", since, 1, self._version)
        for missing in self._missing(since):
            raise DefinitionError(f"{at}: no upcaster from version {missing}; declare it before, with upcasts()")
        if not (when is None or isinstance(when, str | Collection) or callable(when)):
            raise DefinitionError(f"{at}: when is {when!r}; give names, a function or nothing")

        def declared(function: Callable[[B], M | Document]) -> Callable[[B], M | Document]:
            _check_function(at, function)
            name = getattr(function, "__name__", repr(function))
            self._translators.append(_Translator(name, kind, form, when, since, function))
            return function

        return declared

    def read(self, value: bytes, headers: Mapping[str, bytes]) -> M:
        """The message as the canonical model.

        Args:
            value: at most 64 MiB.
            headers: of the message; ``content-type`` says its format. Without one, the shape alone decides, and
                binary formats are not considered.

        Raises:
            Unreadable: no translator takes it, or several do; it is damaged or hostile; a translator or upcaster
                raised; or what came out does not fit the model. Its sender or the author must act: the text says what.
        """
        if len(value) > _BYTES_MAX:
            raise Unreadable(f"it has {len(value):,} bytes, at most {_BYTES_MAX:,} are read; send it as a Blob")
        kind = media_type_of(headers)
        if kind is not None and kind.name == self._own:
            return self._canonical(value, kind)
        translator, parsed = self._choose(value, None if kind is None else _plain(kind))
        at = f"the translator {translator.name!r}"
        found = _called(at, translator.function, parsed.body)
        if isinstance(found, self._model) and translator.version == self._version:
            return self._checked(at, found)
        return self._upcast(at, found, translator.version)

    def write(self, body: M) -> bytes:
        """The canonical JSON, which ``read`` reads, also when the model has got further versions.

        Raises:
            TypeError: not an instance of the model.
            Unwritable: its values cannot be written as JSON that reads back.
        """
        if not isinstance(body, self._model):
            raise TypeError(f"{self!r} writes {self._model.__name__}, not {type(body).__name__}")
        return write(body, self._model)

    def _canonical(self, value: bytes, kind: MediaType) -> M:
        given = kind.parameters.get("version", "")
        if not (given.isascii() and given.isdigit() and 1 <= int(given) <= _VERSIONS_MAX):
            raise Unreadable(f"its content type {str(kind)!r} names no version; its sender must add '; version=1'")
        version = int(given)
        if version > self._version:
            raise Unreadable(
                f"it is of version {version}, this process knows {self._version}; update it, then redrive the message"
            )
        for missing in self._missing(version):
            raise Unreadable(
                f"it is of version {version}, and there is no upcaster from {missing}; its author must add it"
            )
        try:
            return self._upcast("it", Json().parse(value, kind.parameters.get("charset")).body, version)
        except Unfit as error:
            raise Unreadable(str(error)) from error

    def _choose(self, value: bytes, kind: MediaType | None) -> tuple[_Translator, Parsed]:
        """The one translator that takes the message, by content type, then by shape."""
        rivals = [each for each in self._translators if _concerns(each, kind)]
        if not rivals:
            self._unknown(kind)
        tried: dict[Format, Parsed | Unfit] = {}
        charset = None if kind is None else kind.parameters.get("charset")
        shaped: list[tuple[_Translator, Parsed]] = []
        others: list[tuple[_Translator, Parsed]] = []
        reasons: dict[str, None] = {}
        for each in rivals:
            found = _tried(each.format, value, charset, tried)
            if isinstance(found, Unfit):
                reasons[str(found)] = None
            elif each.when is None:
                others.append((each, found))
            elif each.fits(found):
                shaped.append((each, found))
            else:
                reasons[f"it has not the shape of {each.name!r}"] = None
        fitting = shaped or others
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            names = " and ".join(repr(each.name) for each, _ in fitting)
            raise Unreadable(f"it has the shape of {names}; their author must make the shapes differ")
        raise Unreadable(f"no translator takes it: {'; '.join(reasons)}")

    def _unknown(self, kind: MediaType | None) -> NoReturn:
        known = ", ".join(sorted({str(each.kind) for each in self._translators} | {self._own}))
        if kind is None:
            raise Unreadable(f"it has no content type, and nothing here knows it by its shape; known are {known}")
        raise Unreadable(f"its content type {str(kind)!r} is unknown here; known are {known}")

    def _missing(self, version: int) -> Iterator[int]:
        return (each for each in range(version, self._version) if each not in self._upcasters)

    def _upcast(self, at: str, document: object, version: int) -> M:
        for each in range(version, self._version):
            document = _called(f"the upcaster from version {each}", self._upcasters[each], _dict(at, document))
            at = f"the upcaster from version {each}"
        return self._checked(at, _dict(at, document))

    def _checked(self, at: str, found: M | dict[str, Any]) -> M:
        try:
            return read(self._model, write(found, self._model) if isinstance(found, BaseModel) else found)
        except ValidationError as error:
            wrong = mistakes(error, "the document")
            raise Unreadable(f"what {at} gives does not fit {self._model.__name__}: {wrong}") from error
        except Unwritable as error:
            raise Unreadable(f"what {at} gives is wrong: {error}") from error


def _called(at: str, function: Callable[[Any], object], body: object) -> object:
    try:
        return function(body)
    except ValidationError as error:
        raise Unreadable(f"{at} refused it: {mistakes(error, 'the body')}") from error
    except Exception as error:
        raise Unreadable(f"{at} failed: {said(error)}; its sender or its author must correct it") from error


def _dict(at: str, document: object) -> dict[str, Any]:
    if not isinstance(document, Mapping):
        raise Unreadable(
            f"{at} gives {type(document).__name__}, not a document; its author must return the model or a dict"
        )
    return dict(document)


def _concerns(translator: _Translator, kind: MediaType | None) -> bool:
    if kind is None:
        return translator.when is not None and not translator.format.explicit
    return translator.kind.includes(kind)


def _tried(form: Format, value: bytes, charset: str | None, tried: dict[Format, Parsed | Unfit]) -> Parsed | Unfit:
    """Parsed once for all translators of one format."""
    if form not in tried:
        try:
            tried[form] = form.parse(value, charset)
        except Unfit as error:
            tried[form] = error
    return tried[form]


def _plain(kind: MediaType) -> MediaType:
    return kind._replace(name=_ALIASES.get(kind.name, kind.name))


def _format(
    at: str, kind: MediaType, *, schema: Mapping[str, Any] | None, message: type[Any] | None, delimiter: str
) -> Format:
    for name, given, wanted in (("schema", schema, "application/avro"), ("message", message, "application/protobuf")):
        if (given is not None) != (kind.name == wanted):
            raise DefinitionError(f"{at}: {'give' if given is None else 'remove'} {name}; it belongs to {wanted}")
    if not (isinstance(delimiter, str) and len(delimiter) == 1 and delimiter not in '\r\n"'):
        raise DefinitionError(f"{at}: delimiter is {delimiter!r}; give one character, such as ';'")
    if schema is not None:
        return Avro(schema)
    if message is not None:
        return Protobuf(message)
    if kind.name == "text/csv":
        return Csv(delimiter)
    if kind.name == "application/json" or kind.name.endswith("+json"):
        return Json()
    if kind.name == "application/xml" or kind.name.endswith("+xml"):
        return Xml()
    raise DefinitionError(f"{at}: no format is known for it; give JSON, CSV, XML, Avro or Protobuf")


def _check_function(at: str, function: Callable[..., object]) -> None:
    name = getattr(function, "__qualname__", repr(function))
    if inspect.iscoroutinefunction(function):
        raise DefinitionError(
            f"{at}: {name} is async; translating needs nothing from outside, so make it a plain function"
        )
    try:
        inspect.signature(function).bind(None)
    except (TypeError, ValueError) as error:
        raise DefinitionError(
            f"{at}: {name} cannot be called with one argument ({error}); give it one parameter"
        ) from error
