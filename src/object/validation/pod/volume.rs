//! Volumes: names, exactly one source each, and paths that stay inside.

use std::collections::BTreeSet;

use serde_json::Value;

use super::env;
use crate::object::Quantity;
use crate::object::validation::field::{Causes, Field, quoted};
use crate::object::validation::names;

/// Names of the volumes that are sound, for mounts to refer to.
pub(super) type Volumes = BTreeSet<String>;

/// Fields of a pod that a volume can show.
const POD_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// Checks the volumes of a pod spec and returns the names of the sound ones.
pub(super) fn volumes(volumes: &Field<'_>, causes: &mut Causes) -> Volumes {
    let mut sound = Volumes::new();
    for volume in volumes.items() {
        let before = causes.0.len();
        source(&volume, causes);
        let name = volume.child("name");
        if name.text().is_empty() {
            causes.required(&name, "");
        } else {
            causes.invalid_each(&name, names::dns_label(name.text()));
        }
        if sound.contains(name.text()) {
            causes.duplicate(&name);
        }
        if causes.0.len() == before {
            sound.insert(name.text().to_owned());
        }
    }
    sound
}

fn source(volume: &Field<'_>, causes: &mut Causes) {
    let members = volume.value.as_object().into_iter().flatten();
    let given: Vec<_> = members.filter(|(name, v)| *name != "name" && !v.is_null()).map(|(name, _)| name).collect();
    let Some((first, more)) = given.split_first() else {
        return causes.required(volume, "must specify a volume type");
    };
    for name in more {
        causes.forbidden(&volume.child(name), "may not specify more than 1 volume type");
    }
    let source = volume.child(first);
    match first.as_str() {
        "emptyDir" => {
            let limit = source.child("sizeLimit");
            if Quantity::of(limit.value).is_ok_and(Quantity::is_negative) {
                causes.forbidden(&limit, "SizeLimit field must be a valid resource quantity");
            }
        }
        "hostPath" => host_path(&source, causes),
        "configMap" => keys(&source, "name", causes),
        "secret" => keys(&source, "secretName", causes),
        "downwardAPI" => {
            mode(&source.child("defaultMode"), causes);
            for item in source.child("items").items() {
                downward_file(&item.named(&source.path), causes);
            }
        }
        "projected" => projected(&source, causes),
        "persistentVolumeClaim" => needs(&source, &["claimName"], causes),
        "nfs" => {
            needs(&source, &["server", "path"], causes);
            let path = source.child("path");
            if !path.text().is_empty() && !path.text().starts_with('/') {
                causes.invalid(&path, "must be an absolute path");
            }
        }
        "csi" => needs(&source, &["driver"], causes),
        "iscsi" => needs(&source, &["targetPortal", "iqn"], causes),
        "rbd" => needs(&source, &["monitors", "image"], causes),
        "cephfs" => needs(&source, &["monitors"], causes),
        "ephemeral" => needs(&source, &["volumeClaimTemplate"], causes),
        _ => {}
    }
}

fn needs(source: &Field<'_>, names: &[&str], causes: &mut Causes) {
    for field in names.iter().map(|name| source.child(name)) {
        if field.text().is_empty() && field.len() == 0 {
            causes.required(&field, "");
        }
    }
}

fn host_path(source: &Field<'_>, causes: &mut Causes) {
    let path = source.child("path");
    if path.text().is_empty() {
        return causes.required(&path, "");
    }
    no_backsteps(&path, causes);
    let types = ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    let kind = source.child("type");
    if kind.is_set() && !types.contains(&kind.text()) {
        causes.not_supported(&kind, &types);
    }
}

/// A configMap or secret volume.
fn keys(source: &Field<'_>, name: &str, causes: &mut Causes) {
    needs(source, &[name], causes);
    mode(&source.child("defaultMode"), causes);
    for item in source.child("items").items() {
        key_to_path(&item, causes);
    }
}

fn key_to_path(item: &Field<'_>, causes: &mut Causes) {
    needs(item, &["key", "path"], causes);
    not_reserved(&item.child("path"), causes);
    mode(&item.child("mode"), causes);
}

fn mode(mode: &Field<'_>, causes: &mut Causes) {
    if mode.number().is_some_and(|m| !(0..=0o777).contains(&m)) {
        causes.invalid(mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

fn downward_file(file: &Field<'_>, causes: &mut Causes) {
    needs(file, &["path"], causes);
    not_reserved(&file.child("path"), causes);
    if file.has("fieldRef") {
        env::field_ref(&file.child("fieldRef"), POD_FIELDS, causes);
        if file.has("resourceFieldRef") {
            let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
            causes.invalid_as(file, "\"resource\"", why);
        }
    } else if file.has("resourceFieldRef") {
        env::resource_ref(&file.child("resourceFieldRef"), true, causes);
    } else {
        causes.required(file, "one of fieldRef and resourceFieldRef is required");
    }
    mode(&file.child("mode"), causes);
}

fn projected(source: &Field<'_>, causes: &mut Causes) {
    mode(&source.child("defaultMode"), causes);
    let mut used = BTreeSet::new();
    for projection in source.child("sources").items() {
        for inner in ["secret", "configMap"].map(|name| projection.child(name)).into_iter().filter(Field::is_set) {
            needs(&inner, &["name"], causes);
            for item in inner.child("items").items() {
                key_to_path(&item, causes);
                once(source, item.child("path").text(), inner.child("name").text(), &mut used, causes);
            }
        }
        let downward = projection.child("downwardAPI");
        for file in downward.child("items").items() {
            downward_file(&file.named(&downward.path), causes);
            let path = file.child("path").text();
            once(source, path, path, &mut used, causes);
        }
        let token = projection.child("serviceAccountToken");
        if token.is_set() {
            service_account_token(&token, &source.child("path").path, causes);
        }
        if projection.value.as_object().is_some_and(|o| o.values().filter(|v| !v.is_null()).count() > 1) {
            causes.forbidden(&projection, "may not specify more than 1 volume type per source");
        }
    }
}

fn once<'a>(source: &Field<'_>, path: &'a str, shown: &str, used: &mut BTreeSet<&'a str>, causes: &mut Causes) {
    if !path.is_empty() && !used.insert(path) {
        causes.invalid_as(source, &quoted(shown), "conflicting duplicate paths");
    }
}

fn service_account_token(token: &Field<'_>, path: &str, causes: &mut Causes) {
    let seconds = token.child("expirationSeconds");
    match seconds.number() {
        Some(n) if n < 600 => causes.invalid(&seconds, "may not specify a duration less than 10 minutes"),
        Some(n) if n > 1 << 32 => causes.invalid(&seconds, "may not specify a duration larger than 2^32 seconds"),
        _ => {}
    }
    let path = token.child("path").named(path);
    if path.text().is_empty() {
        causes.required(&path, "");
    } else {
        not_reserved(&path, causes);
    }
}

/// A relative path that never goes up.
pub(super) fn descending(path: &Field<'_>, causes: &mut Causes) {
    if path.text().starts_with('/') {
        causes.invalid(path, "must be a relative path");
    }
    no_backsteps(path, causes);
}

fn no_backsteps(path: &Field<'_>, causes: &mut Causes) {
    if path.text().split('/').any(|step| step == "..") {
        causes.invalid(path, "must not contain '..'");
    }
}

/// A relative path that never goes up, nor begins like the folders in which volumes are swapped.
fn not_reserved(path: &Field<'_>, causes: &mut Causes) {
    let path = &Field { value: if path.is_set() { path.value } else { &Value::Null }, path: path.path.clone() };
    descending(path, causes);
    if path.text().starts_with("..") && !path.text().starts_with("../") {
        causes.invalid(path, "must not start with '..'");
    }
}
