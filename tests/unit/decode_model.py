"""A plain, slow model of the decoder: one document at a time, json and recursion."""

import json
import math
from decimal import Decimal

from alder.paths import child
from tailer.decode import Decoded, DecodeLimits

Cells = dict[str, object]


class Refused(Exception):
    """The model's verdict that a document is not accepted."""


class Pairs(list):
    """An object's members."""


class Text(str):
    """A number's text."""

    __slots__ = ()


def decode_model(document: bytes | None, limits: DecodeLimits | None = None) -> Cells:
    """Values by physical column name. Raises Refused."""
    limits = limits or DecodeLimits()
    if document is None or not document.strip(b" \t\r\n"):
        raise Refused
    if len(document) > limits.document_size_bytes_max:
        raise Refused
    try:
        text = document.decode()
        value = json.JSONDecoder(
            object_pairs_hook=Pairs, parse_int=Text, parse_float=Text, parse_constant=_refuse
        ).decode(text)
        _plain_text(value).encode()
    except (ValueError, RecursionError):
        raise Refused from None
    if not isinstance(value, Pairs) or _depth(value) > limits.depth_max:
        raise Refused
    if _keys(value) > limits.document_fields_max:
        raise Refused
    cells: Cells = {}
    _flatten("", value, cells)
    return cells


def decoded_rows(decoded: Decoded) -> dict[int, Cells]:
    """What the decoder gave, in the model's form: cells by index of input row."""
    rows: dict[int, Cells] = {int(row): {} for row in decoded.kept}
    for name in decoded.batch.column_names:
        values = decoded.batch[name].to_pylist()
        assert len(values) == len(decoded.kept)
        assert any(value is not None for value in values), f"{name} holds nothing"
        for row, value in zip(decoded.kept, values, strict=True):
            if value is not None:
                rows[int(row)][name] = comparable(name, value)
    return rows


def comparable(name: str, value: object) -> object:
    """A value by meaning where its text is free (json), by bits where == is too kind (floats)."""
    tag = name.partition(":")[0]
    if tag in {"json", "list<null>"}:
        return _meaning(
            json.JSONDecoder(object_pairs_hook=Pairs, parse_int=Text, parse_float=Text).decode(
                value
            )
        )
    if tag == "float":
        return repr(value)
    if tag == "list<float>":
        return [None if element is None else repr(element) for element in value]
    return value


def _refuse(name: str) -> None:
    raise ValueError(name)


def _plain_text(value: object) -> str:
    if isinstance(value, Pairs):
        return "".join(key + _plain_text(member) for key, member in value)
    if isinstance(value, list):
        return "".join(map(_plain_text, value))
    return value if isinstance(value, str) else ""


def _members(value: object) -> list:
    if isinstance(value, Pairs):
        return [member for _, member in value]
    return value if isinstance(value, list) else []


def _depth(value: object) -> int:
    inner = max(map(_depth, _members(value)), default=0)
    return inner + 1 if isinstance(value, list) else 0


def _keys(value: object) -> int:
    own = len(value) if isinstance(value, Pairs) else 0
    return own + sum(map(_keys, _members(value)))


def _flatten(parent: str, pairs: Pairs, cells: Cells) -> None:
    if len({key for key, _ in pairs}) < len(pairs):
        raise Refused
    for key, value in pairs:
        path = child(parent, key)
        if isinstance(value, Pairs) and value:
            _flatten(path, value, cells)
        elif value is not None:
            tag, kept = _typed(value)
            cells[f"{tag}:{path}"] = kept


def _typed(value: object) -> tuple[str, object]:
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, Text):
        return _number(value)
    if isinstance(value, str):
        return "string", value
    if isinstance(value, Pairs):
        return "json", _meaning(value)
    elements = [element for element in value if element is not None]
    if not elements:
        return "list<null>", _meaning(value)
    kinds = {_typed(element)[0] if not _members(element) else "json" for element in elements}
    if kinds <= {"bool"} or kinds <= {"int"} or kinds <= {"string"}:
        tag = kinds.pop()
        return f"list<{tag}>", [None if e is None else _typed(e)[1] for e in value]
    if "float" in kinds and kinds <= {"int", "float", "decimal(38,0)", "json"}:
        numbers = all(isinstance(element, Text) for element in elements)
        if numbers and all(_fits_double(element) for element in elements):
            return "list<float>", [None if e is None else _double(e) for e in value]
    return "json", _meaning(value)


def _fits_double(text: Text) -> bool:
    if _is_float(text):
        return math.isfinite(float(text))
    try:
        return int(float(text)) == int(text)
    except (OverflowError, ValueError):
        return False


def _double(text: Text) -> str:
    return repr(float(text) if _is_float(text) else float(int(text)))


def _is_float(text: str) -> bool:
    return bool(set(text) & set(".eE"))


def _number(text: Text) -> tuple[str, object]:
    if _is_float(text):
        value = float(text)
        return ("float", repr(value)) if math.isfinite(value) else ("json", _meaning(text))
    if len(text) <= 40:
        whole = int(text)
        if -(2**63) <= whole < 2**63:
            return "int", whole
        if abs(whole) < 10**38:
            return "decimal(38,0)", Decimal(whole)
    return "json", _meaning(text)


def _meaning(value: object) -> object:
    if isinstance(value, Text):
        if _is_float(value):
            return ("float", repr(float(value)))
        return ("int", "0" if value == "-0" else str(value))
    if isinstance(value, Pairs):
        return ("object", [(key, _meaning(member)) for key, member in value])
    if isinstance(value, list):
        return ("list", [_meaning(element) for element in value])
    return value
