//! In which form the client wants its answer.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use super::status::Status;

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Compact JSON.
    Json,
    /// YAML, for people.
    Yaml,
}

/// What a document shows of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// All of it.
    Whole,
    /// Columns, as `kubectl get` prints them.
    Table,
    /// Its metadata.
    Metadata,
    /// For discovery: all groups in one document.
    Aggregated,
}

/// The form and view that both sides can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// How it is written.
    pub form: Form,
    /// What it shows.
    pub view: View,
}

impl Wanted {
    /// Whole objects in JSON: what a client gets that asks for nothing.
    pub const PLAIN: Self = Self { form: Form::Json, view: View::Whole };
}

/// What objects can be shown as.
pub const OBJECTS: &[View] = &[View::Whole, View::Table, View::Metadata];

/// What discovery can be shown as.
pub const DISCOVERY: &[View] = &[View::Whole, View::Aggregated];

/// What everything else can be shown as.
pub const WHOLE: &[View] = &[View::Whole];

/// Picks the first form that the client accepts, by its preference, and that is among `offered`.
///
/// # Errors
/// 406 if there is none.
pub fn negotiate(headers: &HeaderMap, offered: &[View]) -> Result<Wanted, Status> {
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    let accept = accept.join(",");
    if accept.trim().is_empty() {
        return Ok(Wanted::PLAIN);
    }
    let mut ranges: Vec<Range<'_>> = accept.split(',').map(Range::parse).filter(|r| r.quality > 0).collect();
    ranges.sort_by_key(|r| std::cmp::Reverse(r.quality));
    let mut wanted = ranges.iter().filter_map(Range::wanted);
    wanted.find(|w| offered.contains(&w.view)).ok_or_else(Status::not_acceptable)
}

/// One clause of an Accept header.
struct Range<'a> {
    media: &'a str,
    /// What the object is shown as, with its group and version; parameter order varies between clients.
    convert: Option<&'a str>,
    group: &'a str,
    version: &'a str,
    /// Thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(clause: &'a str) -> Self {
        let mut parts = clause.split(';').map(str::trim);
        let mut range =
            Self { media: parts.next().unwrap_or_default(), convert: None, group: "", version: "", quality: 1000 };
        for (name, value) in parts.filter_map(|p| p.split_once('=')) {
            match name.trim() {
                "as" => range.convert = Some(value),
                "g" => range.group = value,
                "v" => range.version = value,
                "q" => range.quality = thousandths(value),
                _ => {}
            }
        }
        range
    }

    fn wanted(&self) -> Option<Wanted> {
        let form = match self.media {
            "application/json" | "application/*" | "*/*" => Form::Json,
            "application/yaml" => Form::Yaml,
            _ => return None,
        };
        let view = match (self.convert, self.group, self.version) {
            (None, ..) => View::Whole,
            (Some("Table"), "meta.k8s.io", "v1") => View::Table,
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), "meta.k8s.io", "v1") => View::Metadata,
            (Some("APIGroupDiscoveryList"), "apidiscovery.k8s.io", "v2") => View::Aggregated,
            _ => return None,
        };
        Some(Wanted { form, view })
    }
}

fn thousandths(text: &str) -> u16 {
    let quality: f32 = text.trim().parse().unwrap_or(0.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let thousandths = (quality.clamp(0.0, 1.0) * 1000.0) as u16;
    thousandths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &str, offered: &[View]) -> Option<(Form, View)> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        negotiate(&headers, offered).ok().map(|w| (w.form, w.view))
    }

    #[test]
    fn what_clients_send() {
        use Form::{Json, Yaml};
        for (accept, answer) in [
            ("", Some((Json, View::Whole))),
            ("*/*", Some((Json, View::Whole))),
            ("application/json", Some((Json, View::Whole))),
            ("application/json, */*", Some((Json, View::Whole))),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,\
                 application/json",
                Some((Json, View::Table)),
            ),
            ("application/json;g=meta.k8s.io;v=v1;as=Table", Some((Json, View::Table))),
            ("application/vnd.kubernetes.protobuf,application/json", Some((Json, View::Whole))),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,\
                 application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
                Some((Json, View::Metadata)),
            ),
            ("application/yaml", Some((Yaml, View::Whole))),
            ("application/json;q=0.5, application/yaml;q=0.9", Some((Yaml, View::Whole))),
            ("application/json;as=Table;v=v1;g=other.group", None),
            ("application/vnd.kubernetes.protobuf", None),
            ("text/html", None),
            ("application/json;q=0", None),
        ] {
            assert_eq!(wanted(accept, OBJECTS), answer, "{accept}");
        }
    }

    #[test]
    fn discovery_is_aggregated_in_either_parameter_order() {
        for accept in [
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
             application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
            "application/json;as=APIGroupDiscoveryList;g=apidiscovery.k8s.io;v=v2",
        ] {
            assert_eq!(wanted(accept, DISCOVERY), Some((Form::Json, View::Aggregated)));
        }
        let old = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert_eq!(wanted(old, DISCOVERY), Some((Form::Json, View::Whole)));
    }

    #[test]
    fn a_view_that_is_not_offered_is_passed_over() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(wanted(table, WHOLE), None);
        assert_eq!(wanted(&format!("{table},application/json"), WHOLE), Some((Form::Json, View::Whole)));
    }
}
