#!/usr/bin/env python3
"""Writes numbers-1.33.json.gz, the field numbers by which object/protobuf reads protobuf bodies.

    cargo init /tmp/numbers && cd /tmp/numbers && cargo add k8s-pb@0.9.0 && cargo fetch
    src/object/protobuf/generate.py ~/.cargo/registry/src/*/k8s-pb-0.9.0/src

Run by hand, after schema/generate.py. The numbers are from the crate's source, the fields' names in JSON from the
schema: a field that the schema does not have is left out, unless it is a member that Go inlines.

The output, unpacked, is one JSON object: message -> [[number, name, type], ...], sorted, one message a line.

- A type is `string`, `bytes`, `bool`, `int`, `double` or the name of a message; `[]TYPE` comes any number of times,
  `{}TYPE` is a map from strings.
- `TYPE!` is written even when it is zero: Go has a pointer there, or always writes it. All others are left out then.
- The name is empty where the message's fields belong to the one around it, and `*` where the message is nothing but
  this field.
"""

import gzip
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
SCHEMA = HERE.parent / "schema" / "kubernetes-1.33.json.gz"
OUT = HERE / "numbers-1.33.json.gz"
PREFIX = "#/components/schemas/"
SCALARS = {"string": "string", "bytes": "bytes", "bool": "bool", "int32": "int", "int64": "int", "double": "double"}
# What object/protobuf reads by itself.
SPECIAL = {
    "Time", "MicroTime", "Quantity", "IntOrString", "FieldsV1", "RawExtension", "JSON",
    "JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrStringArray",
}
# Numbers and booleans that are no pointers in Go and carry `omitempty`: on the wire they are there when nobody set
# them, in JSON they are not. A zero of any other is kept: to lose an `automountServiceAccountToken: false` is worse
# than to show a `paused: false` too much.
ZERO_IS_ABSENT = {
    ("*", name)
    for name in """
    paused hostNetwork hostPID hostIPC stdin stdinOnce tty minReadySeconds hostPort nodePort healthCheckNodePort
    initialDelaySeconds periodSeconds successThreshold failureThreshold publishNotReadyAddresses unschedulable
    generation observedGeneration collisionCount updatedReplicas readyReplicas availableReplicas unavailableReplicas
    fullyLabeledReplicas currentReplicas active succeeded failed deprecatedCount count blockDeviceOnly lun
    """.split()
} | {("Probe", "timeoutSeconds"), ("LeaseSpec", "leaseTransitions")}
ZERO_IS_ABSENT_IN = {"readOnly": lambda message: message != "CSIVolumeSource"}
# Texts that are pointers in Go, and mean something when they are empty.
EMPTY_COUNTS = {("PersistentVolumeClaimSpec", "storageClassName"), ("IngressSpec", "ingressClassName")}


def main():
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} K8S-PB-SOURCE")
    schema = json.loads(gzip.decompress(SCHEMA.read_bytes()))
    messages = {}
    for path in sorted(pathlib.Path(sys.argv[1]).rglob("mod.rs")):
        messages.update(parse(path, sys.argv[1]))
    table = {}
    for name in schema:
        if lower(name) in messages and "properties" in schema[name]:
            add(table, schema, messages, name, schema[name]["properties"])
    lines = [f"{json.dumps(n)}:{json.dumps(f, separators=(',', ':'))}" for n, f in sorted(table.items())]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    OUT.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{OUT.name}: {len(table)} messages, {len(text)} bytes, {OUT.stat().st_size} packed")
    for name in sorted(set(schema) - set(table)):
        if "properties" in schema[name] and name.rsplit(".", 1)[1] not in SPECIAL:
            print(f"no numbers for {name}")


def lower(name):
    return name.lower()


def plain(name):
    """What a name has in common in Rust and in JSON."""
    return name.removeprefix("r#").replace("_", "").lower()


def parse(path, root):
    """The messages of a file: lower-case name -> [attribute, name, type, package] of each field."""
    package = ".".join(path.parent.relative_to(root).parts)
    field = re.compile(r"#\[prost\(((?:[^\"\]]|\"[^\"]*\")*)\)\]\s*pub ((?:r#)?\w+):\s*(.*?),\s*(?=///|#\[|\}|$)", re.S)
    found = {}
    for name, body in re.findall(r"^pub struct (\w+) \{(\}|\n.*?^\})", path.read_text(), re.S | re.M):
        found[lower(full_name(package, name))] = [(*f, package) for f in field.findall(body)]
    return found


def full_name(package, name):
    package = package.replace("apiextensions_apiserver", "apiextensions-apiserver")
    package = package.replace("kube_aggregator", "kube-aggregator")
    return f"io.k8s.{package}.{name}"


def kind_of(attribute, rust, package):
    """The number, how often it comes, and the type of a field."""
    number = int(re.search(r'tag = "(\d+)"', attribute)[1])
    words = [w.strip() for w in re.sub(r'"[^"]*"', lambda m: m[0].replace(",", ";"), attribute).split(",")]
    if m := re.match(r'btree_map = "string; ?(\w+)"', words[0]):
        often, kind = "{}", m[1]
    else:
        often, kind = ("[]" if "repeated" in words else ""), words[0].split(" ")[0]
    if kind != "message":
        return number, often, SCALARS[kind]
    inner = re.search(r"((?:\w+::)*\w+)[,>]*$", re.sub(r"\s", "", rust))[1]
    parts = package.split(".")
    names = inner.split("::")
    while names[0] == "super":
        parts, names = parts[:-1], names[1:]
    return number, often, full_name(".".join(parts + names[:-1]), names[-1])


def add(table, schema, messages, name, properties):
    """Adds a message whose fields are among `properties`, and the messages in it that the schema does not know."""
    if name in table or name.rsplit(".", 1)[1] in SPECIAL:
        return
    table[name] = fields = []
    by_plain = {plain(p): p for p in properties}
    known = {lower(n): n for n in schema}
    for attribute, rust_name, rust_type, package in messages[lower(name)]:
        number, often, kind = kind_of(attribute, rust_type, package)
        kind = known.get(lower(kind), kind)
        field = by_plain.get(plain(rust_name))
        if field is None:
            if often or kind in SCALARS.values() or not inlined(messages, kind, by_plain):
                continue
            field = ""
        wrapped = kind.startswith("io.") and kind not in schema
        if wrapped and field:
            (attribute, inner, rust_type, package), = messages[lower(kind)]
            assert inner == "items", kind
            inner_number, inner_often, inner_kind = kind_of(attribute, rust_type, package)
            table[kind] = [[inner_number, "*", inner_often + inner_kind]]
        elif wrapped:
            add(table, schema, messages, kind, properties)
        fields.append([number, field, often + kind + flag(name, field, often, kind)])
    fields.sort()


def inlined(messages, kind, by_plain):
    """The crate may be of a later version than the schema, so that a few of the message's fields are unknown."""
    fields = messages.get(lower(kind), [])
    return 2 * sum(plain(name) in by_plain for _, name, _, _ in fields) > len(fields)


def flag(message, field, often, kind):
    short = message.rsplit(".", 1)[1]
    if often or field == "" or kind not in ("string", "bool", "int", "double"):
        return ""
    if kind == "string":
        return "!" if (short, field) in EMPTY_COUNTS else ""
    zero_is_absent = ("*", field) in ZERO_IS_ABSENT or (short, field) in ZERO_IS_ABSENT
    return "" if zero_is_absent or ZERO_IS_ABSENT_IN.get(field, lambda _: False)(short) else "!"


if __name__ == "__main__":
    main()
