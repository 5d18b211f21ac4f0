//! A CustomResourceDefinition, read: the names of a kind and what each of its versions is like.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::fill;
use super::intern::{self, Names};
use super::path::{self, JsonPath};
use super::schema::Schema;
use crate::object::kinds::{Kind, Subresource};

/// What a definition says.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The definition's own name: `widgets.example.com`.
    pub name: String,
    /// When it was made; of two that want the same names, the older has them.
    pub created: String,
    /// API group.
    pub group: String,
    /// The resource's name in URLs.
    pub plural: String,
    /// The name kubectl prints for one.
    pub singular: String,
    /// CamelCase.
    pub kind: String,
    /// What a list of them is.
    pub list_kind: String,
    /// What kubectl accepts for short.
    pub short_names: Vec<String>,
    /// Groups such as `all`.
    pub categories: Vec<String>,
    /// Which state of it this is: its uid and generation.
    pub stamp: String,
    /// Whether it is being deleted: no more objects are made.
    pub terminating: bool,
    /// Its served versions, the one that clients should prefer first.
    pub versions: Vec<Arc<Version>>,
}

/// A version of a kind.
#[derive(Clone, Debug)]
pub struct Version {
    /// The kind in this version.
    pub kind: &'static Kind,
    /// What a list of them is.
    pub list_kind: String,
    /// What an object may hold.
    pub schema: Schema,
    /// How objects are printed.
    pub columns: Vec<Column>,
    /// The plain paths by which objects can be selected.
    pub selectable: Vec<String>,
    /// Where the replica count is, if `/scale` is served.
    pub scale: Option<Scale>,
    /// Whether its definition is being deleted: no more objects are made.
    pub terminating: bool,
    /// What users of the version are warned of.
    pub warning: Option<String>,
    /// Whether the schema fills something in.
    has_defaults: bool,
}

/// A column of the table that `kubectl get` prints.
#[derive(Clone, Debug)]
pub struct Column {
    /// The header.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: String,
    /// What refines the type.
    pub format: String,
    /// A sentence.
    pub description: String,
    /// 0 is always shown, others only by `-o wide`.
    pub priority: i64,
    /// Where the value is.
    pub path: JsonPath,
}

/// Plain paths into an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// The replica count that is asked for.
    pub wanted: String,
    /// The one there is.
    pub there: String,
    /// A label selector as text.
    pub selector: Option<String>,
}

impl Definition {
    /// Reads a definition. `None` if it is none that objects could be of.
    pub fn of(crd: &Value) -> Option<Self> {
        let (spec, names) = (&crd["spec"], &crd["spec"]["names"]);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let texts = |value: &Value| value.as_array().into_iter().flatten().filter_map(text).collect::<Vec<_>>();
        let kind = text(&names["kind"])?;
        let mut definition = Self {
            name: text(&crd["metadata"]["name"])?,
            created: text(&crd["metadata"]["creationTimestamp"]).unwrap_or_default(),
            group: text(&spec["group"])?,
            plural: text(&names["plural"])?,
            singular: text(&names["singular"]).unwrap_or_else(|| kind.to_lowercase()),
            list_kind: text(&names["listKind"]).unwrap_or_else(|| format!("{kind}List")),
            kind,
            short_names: texts(&names["shortNames"]),
            categories: texts(&names["categories"]),
            stamp: format!("{} {}", crd["metadata"]["uid"], crd["metadata"]["generation"]),
            terminating: crd["metadata"]["deletionTimestamp"].is_string(),
            versions: Vec::new(),
        };
        let namespaced = spec["scope"] == "Namespaced";
        let served = spec["versions"].as_array().into_iter().flatten().filter(|v| v["served"] == true);
        definition.versions = served.filter_map(|v| Some(Arc::new(Version::of(&definition, namespaced, v)?))).collect();
        definition.versions.sort_by(|a, b| super::order::compare(a.kind.version, b.kind.version));
        Some(definition)
    }

    /// Reads what a definition says of its names, and nothing else: `json` is as it is shown.
    pub fn heading(json: &[u8]) -> Option<Self> {
        /// Of the rest, which may be large, nothing is kept.
        #[derive(serde::Deserialize)]
        struct Heading {
            metadata: Value,
            spec: Spec,
        }
        #[derive(serde::Deserialize)]
        struct Spec {
            group: Value,
            names: Value,
        }
        let Heading { metadata, spec: Spec { group, names } } = serde_json::from_slice(json).ok()?;
        Self::of(&json!({"metadata": metadata, "spec": {"group": group, "names": names}}))
    }

    /// Finds a served version.
    pub fn version(&self, name: &str) -> Option<&Arc<Version>> {
        self.versions.iter().find(|v| v.kind.version == name)
    }

    /// Returns every name that no other kind of the group may have.
    pub fn resource_names(&self) -> impl Iterator<Item = &str> {
        [&self.plural, &self.singular].into_iter().chain(&self.short_names).map(String::as_str)
    }
}

impl Version {
    fn of(definition: &Definition, namespaced: bool, version: &Value) -> Option<Self> {
        let subresources = &version["subresources"];
        let served: &'static [Subresource] =
            match (subresources["status"].is_object(), subresources["scale"].is_object()) {
                (false, false) => &[],
                (true, false) => &[Subresource::Status],
                (false, true) => &[Subresource::Scale],
                (true, true) => &[Subresource::Status, Subresource::Scale],
            };
        let name = version["name"].as_str()?;
        let kind = intern::kind(Names {
            group: &definition.group,
            version: name,
            plural: &definition.plural,
            kind: &definition.kind,
            namespaced,
            subresources: served,
        })?;
        let schema = Schema::of(&version["schema"]["openAPIV3Schema"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let scale = &subresources["scale"];
        let scale = scale.is_object().then(|| Scale {
            wanted: text(&scale["specReplicasPath"]),
            there: text(&scale["statusReplicasPath"]),
            selector: scale["labelSelectorPath"].as_str().map(str::to_owned),
        });
        let own = format!("{}/{name} {} is deprecated", definition.group, definition.kind);
        let warning =
            (version["deprecated"] == true).then(|| version["deprecationWarning"].as_str().map_or(own, str::to_owned));
        let selectable = version["selectableFields"].as_array().into_iter().flatten();
        Some(Self {
            kind,
            list_kind: definition.list_kind.clone(),
            has_defaults: schema.has_defaults(),
            schema,
            columns: version["additionalPrinterColumns"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Column::of)
                .collect(),
            selectable: selectable.filter_map(|f| f["jsonPath"].as_str().map(str::to_owned)).collect(),
            scale,
            terminating: definition.terminating,
            warning,
        })
    }

    /// Makes an object that is kept in any version into one of this version. Conversion changes nothing but the
    /// version; an object that is older than its schema gets the defaults that it lacks.
    pub fn show(&self, object: &mut Value) {
        object["apiVersion"] = self.kind.api_version().into();
        if self.has_defaults {
            self.complete(object);
        }
    }

    /// Tells whether [`Version::show`] changes more than the version.
    pub fn completes(&self) -> bool {
        self.has_defaults
    }

    /// Gives an object its defaults, and takes out nulls that are no value.
    pub fn complete(&self, object: &mut Value) {
        // The metadata is not the schema's.
        let metadata = object.as_object_mut().and_then(|members| members.remove("metadata"));
        fill::defaults(object, &self.schema);
        if let (Some(metadata), Some(members)) = (metadata, object.as_object_mut()) {
            members.insert("metadata".into(), metadata);
        }
    }

    /// Returns an object's replica count as an autoscaling/v1 Scale; an empty one if `/scale` is not served.
    pub fn scale(&self, object: &Value) -> Value {
        let mut meta = Map::new();
        for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
            if let Some(value) = object["metadata"].get(name) {
                meta.insert(name.into(), value.clone());
            }
        }
        let count = |path: &str| path::at(object, path).as_i64().unwrap_or_default();
        let (wanted, there) = self.scale.as_ref().map_or((0, 0), |s| (count(&s.wanted), count(&s.there)));
        let mut status = json!({"replicas": there});
        if let Some(selector) = self.scale.as_ref().and_then(|s| path::at(object, s.selector.as_ref()?).as_str()) {
            status["selector"] = selector.into();
        }
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": meta, "spec": {"replicas": wanted}, "status": status})
    }
}

impl Column {
    fn of(json: &Value) -> Option<Self> {
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        Some(Self {
            name: text("name"),
            kind: text("type"),
            format: text("format"),
            description: text("description"),
            priority: json["priority"].as_i64().unwrap_or_default(),
            path: JsonPath::parse(json["jsonPath"].as_str()?).ok()?,
        })
    }
}
