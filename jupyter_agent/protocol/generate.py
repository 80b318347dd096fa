"""Writes the protocol for others from the structs: JSON Schema, TypeScript types, and the reference page.

    python -m jupyter_agent.protocol.generate            writes the files of this checkout
    python -m jupyter_agent.protocol.generate --check    exits with 1 when one of them is not what it would write

What the schema says of a frame is what goes over the wire: fields that an encoder always writes are required.
"""

import argparse
import inspect
import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Final, get_args

import msgspec

from .. import compact, events, records
from . import commands, control

CHECKOUT: Final = Path(__file__).resolve().parents[2]
SCHEMA_FILE: Final = CHECKOUT / "docs" / "protocol.schema.json"
TYPES_FILE: Final = CHECKOUT / "labextension" / "src" / "protocol.ts"

REFERENCE_FILE: Final = CHECKOUT / "docs" / "protocol-reference.md"

UNIONS: Final[dict[str, UnionType]] = {
    "AnyKind": events.AnyKind,
    "AnyEvent": events.AnyEvent,
    "AnyControl": control.AnyControl,
    "AnyCommand": commands.AnyCommand,
}
RESOURCES: Final = (
    records.Thread,
    records.Run,
    records.Turn,
    records.Approval,
    records.InputNeeded,
    records.RunRequest,
    compact.CompactRun,
)
"""What REST bodies are made of, beside the frames."""

NAMED: Final = {tuple(cls.__name__ for cls in get_args(union)): name for name, union in UNIONS.items()}
Schema = dict[str, Any]


# --- the schema -----------------------------------------------------------------------------------------------


def definitions() -> dict[str, Schema]:
    """Returns the schema of every struct and enumeration of the protocol by name, in the order of the source."""
    _, components = msgspec.json.schema_components([*UNIONS.values(), *RESOURCES], ref_template="#/$defs/{name}")
    sources = _sources()
    from_clients = _reachable(
        components, {cls.__name__ for cls in (*get_args(commands.AnyCommand), records.RunRequest)}
    )
    found = {}
    for name in sorted(components, key=list(sources).index):
        schema = components[name]
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
        cls = sources[name]
        if issubclass(cls, msgspec.Struct) and name not in from_clients and not cls.__struct_config__.omit_defaults:
            schema["required"] = list(schema["properties"])
        if issubclass(cls, events.Event):
            _as_appended(schema)
        found[name] = schema
    return found


def _sources() -> dict[str, type]:
    """The classes of the protocol by name, in the order in which they are defined."""
    modules = (records, events, compact, control, commands)
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    }


def _reachable(components: Mapping[str, Schema], names: Iterable[str]) -> set[str]:
    """The named definitions and all that they refer to."""
    waiting, found = set(names), set[str]()
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= set(_references(components[name])) - found
    return found


def _references(schema: Any) -> Iterable[str]:
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield _name(schema)
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _name(reference: Schema) -> str:
    return str(reference["$ref"]).rsplit("/", 1)[-1]


def _as_appended(schema: Schema) -> None:
    """An event on the wire has been through the journal, which gave it an id, a run, a time and a checksum."""
    given = {name: {"type": "string"} for name in ("id", "runId", "at")}
    seal = {"type": "string", "pattern": "^[0-9a-f]{8}$"}
    schema["properties"] = schema["properties"] | given | {"crc": seal}
    first = ["type", *given]
    schema["required"] = [*first, *(name for name in schema["required"] if name not in first), "crc"]


def schema_text() -> str:
    """Returns the protocol's JSON Schema (2020-12): one `$defs` entry a struct, and the unions of frames."""
    unions = {
        name: {"anyOf": [{"$ref": f"#/$defs/{cls.__name__}"} for cls in get_args(union)]}
        for name, union in UNIONS.items()
    }
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "jupyter_agent protocol",
        "description": "Frames between the gateway and its clients, and the records of its REST bodies. "
        "Generated from the structs; unknown types, kinds and fields are to be ignored.",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in ("AnyEvent", "AnyControl", "AnyCommand")],
        "$defs": definitions() | unions,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


# --- TypeScript -----------------------------------------------------------------------------------------------

HEAD: Final = """\
/**
 * Frames between the gateway and its clients, and the records of its REST bodies.
 *
 * Generated from the Python structs by `make generate`: do not edit.
 */
"""

GUARDS: Final = """\
/** What the gateway sends. */
export type AnyFrame = AnyEvent | AnyControl;

type Shape = 'string' | 'number' | 'boolean' | 'object' | 'array' | 'any';
type Shapes = Readonly<Record<string, Readonly<Record<string, Shape>>>>;

/** Is this an event of a type that this version knows, with the fields it must have? */
export function isEvent(value: unknown): value is AnyEvent {
  return fits(EVENT_FIELDS, 'type', value) && (value.type !== 'agent_event' || fits(KIND_FIELDS, 'kind', value.event));
}

/** Is this a control frame of a type that this version knows, with the fields it must have? */
export function isControl(value: unknown): value is AnyControl {
  return fits(CONTROL_FIELDS, 'type', value);
}

/** Is this a command of a type that this version knows, with the fields it must have? */
export function isCommand(value: unknown): value is AnyCommand {
  return fits(COMMAND_FIELDS, 'type', value);
}

function fits(shapes: Shapes, tag: string, value: unknown): value is Record<string, unknown> {
  if (shapeOf(value) !== 'object') {
    return false;
  }
  const fields = value as Record<string, unknown>;
  const type = fields[tag];
  if (typeof type !== 'string' || !Object.hasOwn(shapes, type)) {
    return false;
  }
  return Object.entries(shapes[type] ?? {}).every(([name, shape]) =>
    shape === 'any' ? name in fields : shapeOf(fields[name]) === shape
  );
}

function shapeOf(value: unknown): string {
  return Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value;
}
"""

SHAPES: Final = {
    "integer": "number",
    "number": "number",
    "string": "string",
    "boolean": "boolean",
    "object": "object",
    "array": "array",
}


def types_text() -> str:
    """Returns the TypeScript module: an interface a struct, the unions of frames, and guards that narrow to them."""
    known = definitions()
    parts = [HEAD, *(_declaration(name, schema) for name, schema in known.items())]
    parts += [_union(name, [cls.__name__ for cls in get_args(union)]) for name, union in UNIONS.items()]
    parts.append(GUARDS)
    parts += [
        _shapes(constant, [known[cls.__name__] for cls in get_args(UNIONS[union])], tag, known)
        for constant, union, tag in (
            ("KIND_FIELDS", "AnyKind", "kind"),
            ("EVENT_FIELDS", "AnyEvent", "type"),
            ("CONTROL_FIELDS", "AnyControl", "type"),
            ("COMMAND_FIELDS", "AnyCommand", "type"),
        )
    ]
    return "\n".join(parts)


def _declaration(name: str, schema: Schema) -> str:
    if "enum" in schema:
        return _comment(schema) + _union(name, [repr(value) for value in schema["enum"]])
    required = set(schema.get("required", ()))
    fields = [
        f"  readonly {field}{'' if field in required else '?'}: {_type(value)};\n"
        for field, value in schema["properties"].items()
    ]
    return f"{_comment(schema)}export interface {name} {{\n{''.join(fields)}}}\n"


def _comment(schema: Schema) -> str:
    paragraphs = [" ".join(text.split()) for text in schema.get("description", "").split("\n\n")]
    lines = "\n\n".join(textwrap.fill(text, 110) for text in paragraphs).splitlines()
    if not lines:
        return ""
    if len(lines) == 1:
        return f"/** {lines[0]} */\n"
    return "/**\n" + "".join(f" * {line}".rstrip() + "\n" for line in lines) + " */\n"


def _union(name: str, members: list[str]) -> str:
    return f"export type {name} =\n" + "\n".join(f"  | {member}" for member in members) + ";\n"


def _type(schema: Schema) -> str:
    match schema:
        case {"$ref": _}:
            return _name(schema)
        case {"enum": values}:
            return " | ".join(repr(value) for value in values)
        case {"anyOf": options}:
            members = [_type(option) for option in options]
            return NAMED.get(tuple(members)) or " | ".join(members)
        case {"type": "integer" | "number"}:
            return "number"
        case {"type": "string" | "boolean" | "null" as plain}:
            return str(plain)
        case {"type": "array", "items": items}:
            return f"ReadonlyArray<{_type(items)}>"
        case {"type": "object", "additionalProperties": {} as values}:
            return f"Readonly<Record<string, {_type(values)}>>"
        case {"type": "object"}:
            return "Readonly<Record<string, unknown>>"
        case _:
            return "unknown"


def _shapes(constant: str, schemas: list[Schema], tag: str, known: dict[str, Schema]) -> str:
    """A table of what a frame of each type must have, for the guards."""
    rows = []
    for schema in schemas:
        [value] = schema["properties"][tag]["enum"]
        needed = [name for name in schema["required"] if name != tag]
        cells = ", ".join(f"{name}: '{_shape(schema['properties'][name], known)}'" for name in needed)
        rows.append(f"  {value}: {{ {cells} }}" if cells else f"  {value}: {{}}")
    return f"const {constant}: Shapes = {{\n" + ",\n".join(rows) + "\n};\n"


def _shape(schema: Schema, known: dict[str, Schema]) -> str:
    if "$ref" in schema:
        return _shape(known[_name(schema)], known)
    if "enum" in schema:
        return "string"
    if "anyOf" in schema:
        shapes = {_shape(option, known) for option in schema["anyOf"]}
        return shapes.pop() if len(shapes) == 1 else "any"
    return SHAPES.get(schema.get("type", ""), "any")


# --- the reference --------------------------------------------------------------------------------------------

REFERENCE_HEAD: Final = """\
# Protocol reference

Generated from the Python structs by `make generate`: do not edit. [protocol.md](protocol.md) explains how the
frames play together. Fields with `?` may be absent. Every event also has `id`, `runId`, `at` and `crc`.
"""
SECTIONS: Final = (
    ("Events", "AnyEvent", "type"),
    ("Kinds of `agent_event`", "AnyKind", "kind"),
    ("Control frames, gateway to client", "AnyControl", "type"),
    ("Commands, client to gateway", "AnyCommand", "type"),
)


def reference_text() -> str:
    """Returns the Markdown page that lists every frame with its fields."""
    known = definitions()
    parts = [REFERENCE_HEAD]
    for title, union, tag in SECTIONS:
        rows = [_row(known[cls.__name__], tag) for cls in get_args(UNIONS[union])]
        parts.append(f"\n## {title}\n\n| `{tag}` | fields | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    return "".join(parts)


def _row(schema: Schema, tag: str) -> str:
    [value] = schema["properties"][tag]["enum"]
    hidden = {tag, "crc", "at"} | ({"id", "runId"} if "crc" in schema["properties"] else set())
    required = set(schema.get("required", ()))
    fields = [
        f"`{name}{'' if name in required else '?'}`: {_type(field)}".replace("|", "\\|")
        for name, field in schema["properties"].items()
        if name not in hidden
    ]
    meaning = " ".join(schema.get("description", "").split()).replace("|", "\\|")
    return f"| `{value}` | {', '.join(fields) or '-'} | {meaning or '-'} |"


# --- the command ----------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Writes or checks the generated files; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Write the protocol's JSON Schema and TypeScript types from its structs."
    )
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 when a file is out of date")
    options = parser.parse_args(arguments)
    if not TYPES_FILE.parent.is_dir():
        print(f"There is no {TYPES_FILE.parent}: run this in a checkout of the source.", file=sys.stderr)
        return 2
    written = ((SCHEMA_FILE, schema_text()), (TYPES_FILE, types_text()), (REFERENCE_FILE, reference_text()))
    stale = [(file, text) for file, text in written if _read(file) != text]
    for file, text in stale:
        name = file.relative_to(CHECKOUT)
        if options.check:
            print(f"{name} is not what the structs say: run `make generate` and commit it.", file=sys.stderr)
        else:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
            print(f"wrote {name}")
    return 1 if stale and options.check else 0


def _read(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.exists() else None


if __name__ == "__main__":
    sys.exit(main())
