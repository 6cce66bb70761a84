"""Settings as text: TOML for people and for the settings file, JSON Schema for editors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard, get_args

import msgspec

from runtime.settings.forms import form_of, is_secret
from runtime.settings.load import SECTIONS
from runtime.settings.structs import ChannelSettings, Section, Settings
from runtime.settings.structure import describe, is_table_of_structs


def settings_toml(settings: Settings, origins: Mapping[str, str] | None = None) -> str:
    """The settings as a settings file. Secrets are left out, with a comment in their place.

    Args:
        settings: what to write.
        origins: what gave a setting, by path; it is written behind the value.
    """
    blocks = [_table(name, getattr(settings, name), origins or {}) for name in SECTIONS]
    for name, channel in settings.channels.items():
        lines = _lines(channel, f"channels.{name}", origins or {})
        blocks.append("\n".join([f"[channels.{_key(name)}]", *lines]))
    for name, agent in settings.agents.items():
        head = [f"[agents.{_key(name)}]", f"kind = {_value(agent.kind)}"]
        if agent.options is not None:
            head += _lines(agent.options, f"agents.{name}", origins or {})
        blocks.append("\n".join(head))
    return "\n\n".join(blocks) + "\n"


def settings_table(settings: Settings) -> dict[str, Any]:
    """The settings as JSON values, written as in a settings file; a secret is ``***``."""
    table: dict[str, Any] = {name: _values(getattr(settings, name)) for name in SECTIONS}
    table["channels"] = {name: _values(channel) for name, channel in settings.channels.items()}
    table["agents"] = {
        name: {"kind": agent.kind, **({} if agent.options is None else _values(agent.options))}
        for name, agent in settings.agents.items()
    }
    return table


def settings_schema(agent_kinds: Mapping[str, type[msgspec.Struct]]) -> dict[str, Any]:
    """The JSON Schema of the settings file, for these kinds of agents."""
    definitions: dict[str, Any] = {}
    properties = {name: _struct_schema(struct, definitions) for name, struct in SECTIONS.items()}
    properties["channels"] = {
        "type": "object",
        "description": "What holds for single channels, each by its name.",
        "additionalProperties": _struct_schema(ChannelSettings, definitions),
    }
    variants = []
    for kind, options in agent_kinds.items():
        variant = _struct_schema(options, definitions)
        variant["properties"] = {"kind": {"const": kind}, **variant["properties"]}
        variant["required"] = ["kind", *variant.get("required", ())]
        variants.append(variant)
    properties["agents"] = {
        "type": "object",
        "description": "The agents, each by the name that it is known by.",
        "additionalProperties": {"oneOf": variants},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Greenroom settings (runtime.toml)",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        **({"$defs": definitions} if definitions else {}),
    }


def written(field_type: object, value: object) -> object:
    """A field's value as it is written in a settings file; None for one that is left out."""
    form = form_of(field_type)
    if form is not None:
        return form.write(value)
    return msgspec.to_builtins(value, enc_hook=str)


def _values(struct: msgspec.Struct) -> dict[str, object]:
    values: dict[str, object] = {}
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if isinstance(value, Section):
            values[field.encode_name] = _values(value)
        elif is_table_of_structs(field.type):
            values[field.encode_name] = {name: _values(entry) for name, entry in value.items()}
        else:
            secret = is_secret(field.type) and value is not None
            values[field.encode_name] = "***" if secret else written(field.type, value)
    return values


def _table(name: str, section: msgspec.Struct, origins: Mapping[str, str]) -> str:
    """A table, and those within it after its own keys."""
    inner = {
        field.encode_name: value
        for field in msgspec.structs.fields(section)
        if isinstance(value := getattr(section, field.name), Section)
    }
    return "\n\n".join(
        [
            "\n".join([f"[{name}]", *_lines(section, name, origins)]),
            *(_table(f"{name}.{key}", value, origins) for key, value in inner.items()),
        ]
    )


def _lines(struct: msgspec.Struct, path: str, origins: Mapping[str, str]) -> Iterator[str]:
    for field in msgspec.structs.fields(struct):
        name, given = field.encode_name, getattr(struct, field.name)
        if isinstance(given, Section):
            continue
        if is_table_of_structs(field.type):
            yield from _table_comments(name, given)
            continue
        value = written(field.type, given)
        if is_secret(field.type):
            yield f"# {name} is {'not set' if given is None else 'set, and not shown'}"
        elif value is None:
            yield f"# {name} is not set"
        else:
            origin = origins.get(f"{path}.{name}")
            comment = "" if origin is None else f"  # {origin}"
            yield f"{_key(name)} = {_value(value)}{comment}"


def _table_comments(name: str, entries: Mapping[str, msgspec.Struct]) -> Iterator[str]:
    """Tables that cannot be written whole, since each has a secret."""
    if not entries:
        yield f"# {name} is not set"
    for key, entry in entries.items():
        yield f"# {name}.{_key(key)} is {_value(_values(entry))}"


def is_section(kind: object) -> TypeGuard[type[Section]]:
    """Whether values of a type are tables of fixed keys."""
    return isinstance(kind, type) and issubclass(kind, Section)


def _key(name: str) -> str:
    bare = name and all(
        letter.isascii() and (letter.isalnum() or letter in "-_") for letter in name
    )
    return name if bare else _value(name)


def _value(value: Any) -> str:
    """A value as TOML. A JSON string without DEL is a TOML string."""
    if isinstance(value, dict):
        pairs = (f"{_key(str(key))} = {_value(item)}" for key, item in value.items())
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(item) for item in value)}]"
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007F")


def _struct_schema(struct: type[msgspec.Struct], definitions: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required = []
    for field in msgspec.structs.fields(struct):
        properties[field.encode_name] = _field_schema(field, definitions)
        if field.required:
            required.append(field.encode_name)
    summary = (struct.__doc__ or "").strip().partition("\n")[0]
    return {
        "type": "object",
        **({"description": summary} if summary else {}),
        "properties": properties,
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _field_schema(field: msgspec.structs.FieldInfo, definitions: dict[str, Any]) -> dict[str, Any]:
    form = form_of(field.type)
    if form is not None:
        schema = dict(form.schema)
    elif is_section(field.type):
        schema = _struct_schema(field.type, definitions)
    elif is_table_of_structs(field.type):
        entry = _struct_schema(get_args(field.type)[1], definitions)
        schema = {"type": "object", "additionalProperties": entry}
    else:
        schema = msgspec.json.schema(
            field.type, schema_hook=lambda _: {"type": "string"}, ref_template="#/$defs/{name}"
        )
        definitions.update(schema.pop("$defs", {}))
    schema["description"] = f"Expected: {describe(field.type)}."
    if not field.required and field.default_factory is msgspec.NODEFAULT:
        default = written(field.type, field.default)
        if default is not None:
            schema["default"] = default
    return schema
