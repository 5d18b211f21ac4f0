//! Users' kinds as tables: the columns that their definition names, else name and age.

use serde_json::{Value, json};

use crate::api::table::{NAME_DESCRIPTION, format};
use crate::object::custom::{Column, Version};
use crate::time::Wall;

/// Returns the columns.
pub fn columns(version: &Version) -> Value {
    let name =
        json!({"name": "Name", "type": "string", "format": "name", "description": NAME_DESCRIPTION, "priority": 0});
    let own = version.columns.iter().map(|c| {
        json!({"name": c.name, "type": c.kind, "format": c.format, "description": own_or_default(c), "priority": c.priority})
    });
    let age = version.columns.is_empty().then(|| {
        json!({"name": "Age", "type": "date", "format": "", "priority": 0,
            "description": "Custom resource definition column (in JSONPath format): .metadata.creationTimestamp"})
    });
    std::iter::once(name).chain(own).chain(age).collect()
}

fn own_or_default(column: &Column) -> String {
    if column.description.is_empty() {
        format!("Custom resource definition column: {}", column.name)
    } else {
        column.description.clone()
    }
}

/// Returns the cells of an object.
pub fn row(version: &Version, object: &Value, now: Wall) -> Vec<Value> {
    let mut cells = vec![object["metadata"]["name"].clone()];
    if version.columns.is_empty() {
        cells.push(format::since(&object["metadata"]["creationTimestamp"], now).into());
    }
    cells.extend(version.columns.iter().map(|column| cell(column, object, now)));
    cells
}

fn cell(column: &Column, object: &Value, now: Wall) -> Value {
    let Some(value) = column.path.first(object) else { return Value::Null };
    match (column.kind.as_str(), value) {
        ("integer", Value::Number(n)) => n.as_i64().map_or_else(|| whole(n), Value::from),
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) | ("string", Value::String(_)) => value.clone(),
        ("date", Value::String(text)) => {
            if format::time(value).is_some() {
                format::since(value, now).into()
            } else {
                Value::from(if text.is_empty() { "<unknown>" } else { "<invalid>" })
            }
        }
        // Whatever it is, a text can show it.
        ("string", Value::Null) => "<nil>".into(),
        ("string", other) => other.to_string().into(),
        _ => Value::Null,
    }
}

fn whole(number: &serde_json::Number) -> Value {
    #[allow(clippy::cast_possible_truncation, reason = "a cell shows the whole part")]
    number.as_f64().map_or(Value::Null, |n| (n as i64).into())
}

#[cfg(test)]
mod tests {
    use crate::object::custom::Definition;

    use super::*;

    fn version(columns: &Value) -> std::sync::Arc<Version> {
        let crd = json!({"metadata": {"name": "widgets.table.example.com"}, "spec": {"group": "table.example.com", "scope": "Cluster",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "additionalPrinterColumns": columns}]}});
        Definition::of(&crd).unwrap().versions[0].clone()
    }

    #[test]
    fn cells_are_as_their_type_asks() {
        let column = |kind: &str, path: &str| json!({"name": path, "type": kind, "jsonPath": path});
        let version = version(&json!([
            column("integer", ".spec.n"),
            column("number", ".spec.f"),
            column("string", ".spec.n"),
            column("string", ".spec.list"),
            column("boolean", ".spec.b"),
            column("date", ".spec.t"),
            column("integer", ".spec.s"),
            column("string", ".spec.none"),
            column("date", ".spec.s")
        ]));
        let object = json!({"metadata": {"name": "a"}, "spec": {"n": 3, "f": 1.5, "list": ["x"], "b": true, "s": "text",
            "t": "1970-01-01T00:00:00Z"}});
        let cells = row(&version, &object, Wall::from_secs(7));
        assert_eq!(json!(cells), json!(["a", 3, 1.5, "3", "[\"x\"]", true, "7s", null, null, "<invalid>"]));
        assert_eq!(columns(&version).as_array().unwrap().len(), cells.len());
    }

    #[test]
    fn without_columns_there_are_name_and_age() {
        let version = version(&Value::Null);
        let object = json!({"metadata": {"name": "a", "creationTimestamp": "1970-01-01T00:00:00Z"}});
        assert_eq!(json!(row(&version, &object, Wall::from_secs(60))), json!(["a", "60s"]));
        assert_eq!(columns(&version)[1]["name"], "Age");
    }
}
