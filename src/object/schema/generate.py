#!/usr/bin/env python3
"""Writes kubernetes-1.33.json.gz, the upstream schema that object/schema reads.

    pip download --no-deps kubernetes-validate==1.37.0 && unzip kubernetes_validate-*.whl -d unpacked
    src/object/schema/generate.py unpacked

Run by hand, when another version of Kubernetes or another group is to be served. The output depends on nothing but
the input, so that a second run changes nothing.

The output, unpacked, is one JSON object: definition name -> OpenAPI v3 schema, sorted, one definition a line, so
that a document can be put together of lines without parsing them. It differs from the input in this:

- `type: [x, null]` is `x`: OpenAPI v3 has no lists of types, and kubectl explain fails on them;
- a reference is `{allOf: [{$ref: '#/components/schemas/...'}]}` as upstream's own v3 documents have it, because
  OpenAPI v3 ignores what stands beside a `$ref`;
- an `enum` of apiVersion or kind is dropped: the package adds it, upstream has none;
- DeleteOptions and WatchEvent are listed for the served group versions only.
"""

import gzip
import json
import pathlib
import sys

VERSION = "1.33"
# Every group version that Skein serves or will serve; meta/v1 comes with core.
GROUP_VERSIONS = {
    ("", "v1"),
    ("admissionregistration.k8s.io", "v1"),
    ("apiextensions.k8s.io", "v1"),
    ("apps", "v1"),
    ("authentication.k8s.io", "v1"),
    ("authorization.k8s.io", "v1"),
    ("autoscaling", "v1"),
    ("autoscaling", "v2"),
    ("batch", "v1"),
    ("certificates.k8s.io", "v1"),
    ("coordination.k8s.io", "v1"),
    ("discovery.k8s.io", "v1"),
    ("events.k8s.io", "v1"),
    ("networking.k8s.io", "v1"),
    ("node.k8s.io", "v1"),
    ("policy", "v1"),
    ("rbac.authorization.k8s.io", "v1"),
    ("scheduling.k8s.io", "v1"),
    ("storage.k8s.io", "v1"),
}
GVK = "x-kubernetes-group-version-kind"
# Referred to by the documents' paths only.
ALWAYS = ["io.k8s.apimachinery.pkg.apis.meta.v1.Patch"]


def main():
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} UNPACKED-KUBERNETES-VALIDATE")
    folder = f"kubernetes-json-schema/v{VERSION}.0-local/_definitions.json"
    found = sorted(pathlib.Path(sys.argv[1]).rglob(folder))
    if not found:
        sys.exit(f"{sys.argv[1]}: no {folder} in it")
    definitions = json.loads(found[0].read_text())["$defs"]
    names = reachable(definitions, [n for n, d in definitions.items() if served(d)] + ALWAYS)
    lines = []
    for name in sorted(names):
        text = json.dumps(definition(definitions[name]), separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        lines.append(f"{json.dumps(name)}:{text}")
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    out = pathlib.Path(__file__).with_name(f"kubernetes-{VERSION}.json.gz")
    out.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{out.name}: {len(names)} definitions, {len(text)} bytes, {out.stat().st_size} packed")


def served(schema):
    return any((k["group"], k["version"]) in GROUP_VERSIONS for k in schema.get(GVK, []))


def reachable(definitions, names):
    seen, todo = set(), list(names)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += references(definitions[name])
    return seen


def references(schema):
    """The definitions that a schema refers to. Knows where schemas are: a property may be named `$ref`."""
    if "$ref" in schema:
        yield schema["$ref"].removeprefix("#/$defs/")
    for inner in inside(schema):
        yield from references(inner)


def inside(schema):
    yield from schema.get("properties", {}).values()
    yield from (schema[k] for k in ("items", "additionalProperties") if isinstance(schema.get(k), dict))
    yield from schema.get("oneOf", [])


def definition(schema):
    out = fixed(schema)
    if GVK in out:
        out[GVK] = [k for k in out[GVK] if (k["group"], k["version"]) in GROUP_VERSIONS]
    for name in ("apiVersion", "kind"):
        out.get("properties", {}).get(name, {}).pop("enum", None)
    return out


def fixed(schema):
    out = dict(schema)
    if isinstance(out.get("type"), list):
        (out["type"],) = [t for t in out["type"] if t != "null"]
    if "$ref" in out:
        name = out.pop("$ref").removeprefix("#/$defs/")
        out["allOf"] = [{"$ref": f"#/components/schemas/{name}"}]
    if "properties" in out:
        out["properties"] = {name: fixed(inner) for name, inner in out["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), dict):
            out[key] = fixed(out[key])
    if "oneOf" in out:
        out["oneOf"] = [fixed(inner) for inner in out["oneOf"]]
    return out


if __name__ == "__main__":
    main()
