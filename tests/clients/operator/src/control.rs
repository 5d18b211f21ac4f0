//! A controller as they are written with kube-runtime: a watch with a cache, owned objects, a finalizer, a status.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::finalizer::{Event, finalizer};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

const MANAGER: &str = "widget-operator";
const FINALIZER: &str = "example.com/config";

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug)]
struct Failed(Failure);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Failed {}

impl From<kube::Error> for Failed {
    fn from(error: kube::Error) -> Self {
        Self(error.into())
    }
}

struct Context {
    client: Client,
    widgets: ApiResource,
}

/// Runs until it is killed.
pub async fn run() -> anyhow::Result<()> {
    let client = Client::try_default().await?;
    let group = std::env::var("GROUP")?;
    let widgets = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(&group, "v1", "Widget"), "widgets");
    let api = Api::<DynamicObject>::default_namespaced_with(client.clone(), &widgets);
    let maps = Api::<ConfigMap>::default_namespaced(client.clone());
    let context = Arc::new(Context { client, widgets: widgets.clone() });
    Controller::new_with(api, watcher::Config::default(), widgets)
        .owns(maps, watcher::Config::default())
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_millis(500)), context)
        .for_each(|done| async move {
            match done {
                Ok((widget, _)) => println!("reconciled {}", widget.name),
                Err(error) => println!("failed: {error}"),
            }
        })
        .await;
    Ok(())
}

async fn reconcile(widget: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, Failed> {
    let api = Api::<DynamicObject>::default_namespaced_with(context.client.clone(), &context.widgets);
    let maps = Api::<ConfigMap>::default_namespaced(context.client.clone());
    let widgets = api.clone();
    let step = |event| async move {
        match event {
            Event::Apply(widget) => keep(&widgets, &maps, &widget).await,
            Event::Cleanup(widget) => clean(&maps, &widget).await,
        }
    };
    finalizer(&api, FINALIZER, widget, step).await.map_err(|error| Failed(error.into()))
}

async fn keep(api: &Api<DynamicObject>, maps: &Api<ConfigMap>, widget: &DynamicObject) -> Result<Action, Failed> {
    let name = widget.name_any();
    let size = widget.data["spec"]["size"].clone();
    let types = widget.types.clone().unwrap_or_default();
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": format!("{name}-config"), "ownerReferences": [{
            "apiVersion": types.api_version, "kind": types.kind, "name": name, "uid": widget.uid(), "controller": true}]},
        "data": {"size": size.to_string()},
    });
    maps.patch(&format!("{name}-config"), &PatchParams::apply(MANAGER).force(), &Patch::Apply(&map)).await?;
    if widget.data["status"]["replicas"] != size {
        let status = json!({"status": {"replicas": size}});
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await?;
    }
    Ok(Action::await_change())
}

async fn clean(maps: &Api<ConfigMap>, widget: &DynamicObject) -> Result<Action, Failed> {
    match maps.delete(&format!("{}-config", widget.name_any()), &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        other => drop(other?),
    }
    Ok(Action::await_change())
}
