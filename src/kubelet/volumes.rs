//! A pod's volumes: folders, paths of the host, and files that configMaps, secrets and the pod itself provide.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Volume, VolumeProjection};

use crate::object::{Key, Quantity, kinds};
use crate::store::Snapshot;

use super::action::{FileSpec, VolumeSource, VolumeSpec};
use super::env::{config_map, found, secret};
use super::fields::Subject;
use super::tokens::{Mint, account_key};

const DEFAULT_MODE: i32 = 0o644;

/// Resolves all volumes of the pod.
///
/// # Errors
/// What is missing or not supported, as the FailedMount event has it.
pub(super) fn volumes(view: &Snapshot, subject: &Subject<'_>, mint: &mut Mint<'_>) -> Result<Vec<VolumeSpec>, String> {
    let spec = subject.pod.spec.as_ref();
    let volumes = spec.and_then(|s| s.volumes.as_ref()).into_iter().flatten();
    volumes
        .map(|volume| {
            let source = source(view, subject, mint, volume)
                .map_err(|e| format!("MountVolume.SetUp failed for volume {:?} : {e}", volume.name))?;
            Ok(VolumeSpec { name: volume.name.clone(), source })
        })
        .collect()
}

/// Returns the configMaps and secrets that the pod's containers and volumes name, and the ServiceAccount whose token they
/// ask for.
pub(super) fn references(pod: &Pod) -> BTreeSet<Key> {
    let mut out = BTreeSet::new();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut maps = Vec::new();
    let mut secrets = Vec::new();
    let Some(spec) = &pod.spec else { return out };
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        for source in container.env_from.iter().flatten() {
            maps.extend(source.config_map_ref.as_ref().map(|r| &r.name));
            secrets.extend(source.secret_ref.as_ref().map(|r| &r.name));
        }
        for from in container.env.iter().flatten().filter_map(|v| v.value_from.as_ref()) {
            maps.extend(from.config_map_key_ref.as_ref().map(|r| &r.name));
            secrets.extend(from.secret_key_ref.as_ref().map(|r| &r.name));
        }
    }
    for volume in spec.volumes.iter().flatten() {
        maps.extend(volume.config_map.as_ref().map(|v| &v.name));
        secrets.extend(volume.secret.as_ref().and_then(|v| v.secret_name.as_ref()));
        for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            maps.extend(source.config_map.as_ref().map(|r| &r.name));
            secrets.extend(source.secret.as_ref().map(|r| &r.name));
            out.extend(source.service_account_token.as_ref().map(|_| account_key(pod)));
        }
    }
    out.extend(maps.into_iter().map(|name| Key::new(&kinds::CONFIG_MAP, namespace, name.as_str())));
    out.extend(secrets.into_iter().map(|name| Key::new(&kinds::SECRET, namespace, name.as_str())));
    out
}

fn source(
    view: &Snapshot,
    subject: &Subject<'_>,
    mint: &mut Mint<'_>,
    volume: &Volume,
) -> Result<VolumeSource, String> {
    let files = Files { view, subject };
    if let Some(v) = &volume.empty_dir {
        let limit: Option<Quantity> = v.size_limit.as_ref().and_then(|q| q.0.parse().ok());
        let limit = limit.and_then(|q| u64::try_from(q.value()).ok()).filter(|bytes| *bytes > 0);
        return Ok(VolumeSource::Empty { memory: v.medium.as_deref() == Some("Memory"), limit });
    }
    if let Some(v) = &volume.host_path {
        return Ok(VolumeSource::Host { path: v.path.clone(), kind: v.type_.clone().unwrap_or_default() });
    }
    let files = if let Some(v) = &volume.config_map {
        files.of_config_map(&v.name, v.items.as_deref(), v.optional, v.default_mode)
    } else if let Some(v) = &volume.secret {
        let name = v.secret_name.as_deref().unwrap_or_default();
        files.of_secret(name, v.items.as_deref(), v.optional, v.default_mode)
    } else if let Some(v) = &volume.downward_api {
        files.of_pod(v.items.as_deref(), v.default_mode)
    } else if let Some(v) = &volume.projected {
        let sources = v.sources.iter().flatten();
        let parts: Result<Vec<_>, _> = sources.map(|s| files.of_projection(s, mint, v.default_mode)).collect();
        parts.map(|parts| parts.into_iter().flatten().collect())
    } else {
        Err(format!("volume type {} is not supported", kind_of(volume)))
    };
    let files = files?;
    // The API refuses such paths; what came another way must not leave its folder either.
    let leaves = |f: &&FileSpec| f.path.starts_with('/') || f.path.split('/').any(|part| part == "..");
    match files.iter().find(leaves) {
        Some(file) => Err(format!("invalid path: must be relative and not contain '..': {}", file.path)),
        None => Ok(VolumeSource::Files(files)),
    }
}

/// Names what kind of volume it is, as the manifest has it.
fn kind_of(volume: &Volume) -> String {
    let value = serde_json::to_value(volume).unwrap_or_default();
    let mut keys = value.as_object().into_iter().flatten().map(|(key, _)| key.clone());
    keys.find(|key| key != "name").unwrap_or_else(|| "emptyDir".into())
}

struct Files<'a> {
    view: &'a Snapshot,
    subject: &'a Subject<'a>,
}

impl Files<'_> {
    fn namespace(&self) -> &str {
        self.subject.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn of_config_map(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: Option<i32>,
    ) -> Result<Vec<FileSpec>, String> {
        let optional = optional.unwrap_or(false);
        let map = found(config_map(self.view, self.namespace(), name), optional, "configmap", name)?;
        pick(&map.map(contents).unwrap_or_default(), items, mode, optional, "config")
    }

    fn of_secret(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: Option<i32>,
    ) -> Result<Vec<FileSpec>, String> {
        let optional = optional.unwrap_or(false);
        let secret = found(secret(self.view, self.namespace(), name), optional, "secret", name)?;
        let data = secret.and_then(|s| s.data).unwrap_or_default();
        let data = data.into_iter().map(|(k, ByteString(v))| (k, v)).collect();
        pick(&data, items, mode, optional, "secret")
    }

    fn of_pod(&self, items: Option<&[DownwardAPIVolumeFile]>, mode: Option<i32>) -> Result<Vec<FileSpec>, String> {
        let file = |item: &DownwardAPIVolumeFile| {
            let text = match (&item.field_ref, &item.resource_field_ref) {
                (Some(field), _) => self.subject.field(&field.field_path)?,
                (None, Some(resource)) => self.subject.resource(resource, None)?,
                (None, None) => String::new(),
            };
            Ok(FileSpec { path: item.path.clone(), bytes: text.into_bytes(), mode: bits(item.mode, mode) })
        };
        items.unwrap_or_default().iter().map(file).collect()
    }

    fn of_projection(
        &self,
        source: &VolumeProjection,
        mint: &mut Mint<'_>,
        mode: Option<i32>,
    ) -> Result<Vec<FileSpec>, String> {
        if let Some(s) = &source.config_map {
            self.of_config_map(&s.name, s.items.as_deref(), s.optional, mode)
        } else if let Some(s) = &source.secret {
            self.of_secret(&s.name, s.items.as_deref(), s.optional, mode)
        } else if let Some(s) = &source.downward_api {
            self.of_pod(s.items.as_deref(), mode)
        } else if let Some(s) = &source.service_account_token {
            let token = mint.token(self.view, self.subject.pod, s)?;
            Ok(vec![FileSpec { path: s.path.clone(), bytes: token.into_bytes(), mode: bits(None, mode) }])
        } else {
            Err("projected source clusterTrustBundle is not supported".to_owned())
        }
    }
}

fn contents(map: ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.into_iter().flatten().map(|(k, v)| (k, v.into_bytes()));
    text.chain(map.binary_data.into_iter().flatten().map(|(k, ByteString(v))| (k, v))).collect()
}

/// Picks the files that `items` ask for, or all.
fn pick(
    data: &BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    optional: bool,
    kind: &str,
) -> Result<Vec<FileSpec>, String> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let file = |(k, v): (&String, &Vec<u8>)| FileSpec { path: k.clone(), bytes: v.clone(), mode: bits(None, mode) };
        return Ok(data.iter().map(file).collect());
    };
    let mut out = Vec::new();
    for item in items {
        match data.get(&item.key) {
            Some(bytes) => {
                out.push(FileSpec { path: item.path.clone(), bytes: bytes.clone(), mode: bits(item.mode, mode) });
            }
            None if optional => {}
            None => return Err(format!("references non-existent {kind} key: {}", item.key)),
        }
    }
    Ok(out)
}

fn bits(own: Option<i32>, default: Option<i32>) -> u32 {
    u32::try_from(own.or(default).unwrap_or(DEFAULT_MODE)).unwrap_or_default() & 0o777
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubelet::resources::Capacity;
    use crate::kubelet::tests::world;
    use crate::kubelet::tokens::Tokens;
    use crate::time::Now;
    use serde_json::{Value, json};

    fn resolve(volume: &Value) -> Result<VolumeSource, String> {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web"}], "volumes": [volume]},
        }))
        .unwrap();
        let view = world::view(&[
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "shop", "name": "c"},
                "data": {"a.conf": "A", "b.conf": "B"}, "binaryData": {"bin": "/w=="}}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "shop", "name": "s"},
                "data": {"word": "aHVzaA=="}}),
        ]);
        let subject = Subject {
            pod: &pod,
            node: "n1",
            pod_ip: None,
            host_ip: [192, 0, 2, 1].into(),
            capacity: Capacity::default(),
        };
        let mut tokens = Tokens::default();
        let mut mint = Mint { issuer: None, node: "n1", now: Now::default(), tokens: &mut tokens };
        volumes(&view, &subject, &mut mint).map(|mut v| v.remove(0).source)
    }

    fn files(list: &[(&str, &str, u32)]) -> Result<VolumeSource, String> {
        let file = |(path, text, mode): &(&str, &str, u32)| FileSpec {
            path: (*path).into(),
            bytes: text.as_bytes().to_vec(),
            mode: *mode,
        };
        Ok(VolumeSource::Files(list.iter().map(file).collect()))
    }

    #[test]
    fn folders_and_host_paths() {
        assert_eq!(
            resolve(&json!({"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}})),
            Ok(VolumeSource::Empty { memory: true, limit: Some(1 << 20) })
        );
        assert_eq!(
            resolve(&json!({"name": "v", "emptyDir": {}})),
            Ok(VolumeSource::Empty { memory: false, limit: None })
        );
        assert_eq!(
            resolve(&json!({"name": "v", "hostPath": {"path": "/srv", "type": "Directory"}})),
            Ok(VolumeSource::Host { path: "/srv".into(), kind: "Directory".into() })
        );
    }

    #[test]
    fn files_come_from_maps_secrets_and_the_pod() {
        assert_eq!(
            resolve(&json!({"name": "v", "configMap": {"name": "c", "defaultMode": 256,
                "items": [{"key": "b.conf", "path": "x/b"}, {"key": "a.conf", "path": "a", "mode": 511}]}})),
            files(&[("x/b", "B", 0o400), ("a", "A", 0o777)])
        );
        assert_eq!(resolve(&json!({"name": "v", "secret": {"secretName": "s"}})), files(&[("word", "hush", 0o644)]));
        assert_eq!(
            resolve(&json!({"name": "v", "projected": {"sources": [
                {"secret": {"name": "s"}},
                {"configMap": {"name": "gone", "optional": true}},
                {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            ]}})),
            files(&[("word", "hush", 0o644), ("labels", "app=\"web\"", 0o644)])
        );
        let Ok(VolumeSource::Files(all)) = resolve(&json!({"name": "v", "configMap": {"name": "c"}})) else {
            panic!("a configMap is files");
        };
        assert_eq!(all.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["a.conf", "b.conf", "bin"]);
        assert_eq!(all[2].bytes, [0xff]);
    }

    #[test]
    fn what_cannot_be_mounted_is_named() {
        for (volume, message) in [
            (json!({"name": "v", "configMap": {"name": "gone"}}), "configmap \"gone\" not found"),
            (json!({"name": "v", "secret": {"secretName": "gone"}}), "secret \"gone\" not found"),
            (
                json!({"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "k"}]}}),
                "references non-existent config key: k",
            ),
            (
                json!({"name": "v", "configMap": {"name": "c", "items": [{"key": "a.conf", "path": "a/../../b"}]}}),
                "invalid path: must be relative and not contain '..': a/../../b",
            ),
            (
                json!({"name": "v", "persistentVolumeClaim": {"claimName": "data"}}),
                "volume type persistentVolumeClaim is not supported",
            ),
        ] {
            assert_eq!(resolve(&volume), Err(format!("MountVolume.SetUp failed for volume \"v\" : {message}")));
        }
    }
}
