//! The file that tells kubectl where the cluster is and who its holder is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// One way to reach the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The context's name; also that of the cluster entry it points to.
    pub name: String,
    /// The server's URL, as `https://192.168.1.10:6443`.
    pub server: String,
}

/// All that a kubeconfig says. Certificates and the key are in PEM.
#[derive(Clone, Copy, Debug)]
pub struct Kubeconfig<'a> {
    /// The user entry's name.
    pub user: &'a str,
    /// The ways to reach the cluster; the first is the current one.
    pub contexts: &'a [Context],
    /// The authority's certificate.
    pub ca: &'a str,
    /// The client's certificate.
    pub certificate: &'a str,
    /// The client's key.
    pub key: &'a str,
}

impl Kubeconfig<'_> {
    /// Writes the file's text in YAML.
    pub fn yaml(&self) -> String {
        serde_yaml_ng::to_string(&self.value()).expect("a tree of strings is valid YAML")
    }

    fn value(&self) -> Value {
        let data = |pem: &str| STANDARD.encode(pem);
        let clusters: Vec<_> = self.contexts.iter().map(|c| {
            json!({"name": c.name, "cluster": {"server": c.server, "certificate-authority-data": data(self.ca)}})
        }).collect();
        let contexts: Vec<_> = self
            .contexts
            .iter()
            .map(|c| json!({"name": c.name, "context": {"cluster": c.name, "user": self.user}}))
            .collect();
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": self.contexts.first().map_or("", |c| &c.name),
            "clusters": clusters,
            "contexts": contexts,
            "users": [{"name": self.user, "user": {
                "client-certificate-data": data(self.certificate),
                "client-key-data": data(self.key),
            }}],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_context_has_its_cluster_and_the_first_is_current() {
        let contexts = ["n1", "n2"].map(|n| Context { name: n.into(), server: format!("https://{n}:6443") });
        let file = Kubeconfig { user: "admin", contexts: &contexts, ca: "CA", certificate: "CERT", key: "KEY" };
        let read: Value = serde_yaml_ng::from_str(&file.yaml()).unwrap();
        assert_eq!(read["current-context"], "n1");
        assert_eq!(read["clusters"][1]["cluster"]["server"], "https://n2:6443");
        assert_eq!(read["clusters"][1]["cluster"]["certificate-authority-data"], "Q0E=");
        assert_eq!(read["contexts"][1]["context"], json!({"cluster": "n2", "user": "admin"}));
        assert_eq!(read["users"][0]["user"]["client-key-data"], "S0VZ");
        assert_eq!(read["users"][0]["user"]["client-certificate-data"], "Q0VSVA==");
    }
}
