//! OpenAPI v3: the index and one document a group version.
//!
//! `kubectl apply` and `create` read the document of each kind they send. Making them costs far more than anything
//! else here and they never change while the process lives: they are made once, when first asked for, and kept
//! compressed (every client accepts that), a fifteenth of their size.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use tokio::sync::OnceCell;

use serde_json::Value;

use crate::object::custom::Catalog;
use crate::object::{json, openapi};

use super::custom::Documents;
use super::negotiate::{WHOLE, negotiate};
use super::params::Params;
use super::present;
use super::status::Status;

/// The documents, once somebody has asked.
#[derive(Debug, Default)]
pub struct OpenApi(OnceCell<Made>);

#[derive(Debug)]
struct Made {
    index: Bytes,
    documents: BTreeMap<(&'static str, &'static str), Document>,
}

/// A document, packed.
#[derive(Clone, Debug)]
pub struct Document {
    gzipped: Bytes,
    /// What the index names as its hash.
    hash: String,
}

impl OpenApi {
    /// Answers with the index.
    ///
    /// # Errors
    /// 406 if the client does not take JSON.
    pub async fn index(&self, headers: &HeaderMap, customs: &Catalog) -> Result<Response<Body>, Status> {
        negotiate(headers, WHOLE)?;
        let made = self.made().await?;
        let mut index: Value = serde_json::from_slice(&made.index).map_err(Status::internal)?;
        Documents::add_to_index(&mut index, customs);
        Ok(present::with_type(StatusCode::OK, "application/json", json::write(&index)))
    }

    /// Answers with the document of a group version of the table of kinds.
    ///
    /// # Errors
    /// 404 if the group version is not served, 406 if the client does not take JSON.
    pub async fn document(
        &self,
        group: &'static str,
        version: &'static str,
        headers: &HeaderMap,
        params: &Params,
    ) -> Result<Response<Body>, Status> {
        let made = self.made().await?;
        made.documents.get(&(group, version)).ok_or_else(Status::no_such_path)?.answer(headers, params)
    }

    async fn made(&self) -> Result<&Made, Status> {
        let make = || async { tokio::task::spawn_blocking(make).await.map_err(Status::internal)? };
        self.0.get_or_try_init(make).await
    }
}

impl Document {
    /// Packs a document.
    ///
    /// # Errors
    /// 500 if that fails, which it does not.
    pub fn pack(text: &str, hash: String) -> Result<Self, Status> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).map_err(Status::internal)?;
        Ok(Self { gzipped: encoder.finish().map_err(Status::internal)?.into(), hash })
    }

    /// Returns the name of its contents.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Answers with it. A client that names its hash may keep it for ever.
    ///
    /// # Errors
    /// 406 if the client does not take JSON.
    pub fn answer(&self, headers: &HeaderMap, params: &Params) -> Result<Response<Body>, Status> {
        negotiate(headers, WHOLE)?;
        let document = self;
        let etag = format!("\"{}\"", document.hash);
        let known = headers.get(IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == etag.as_bytes());
        let compressed = accepts_gzip(headers);
        let (code, body) = match (known, compressed) {
            (true, _) => (StatusCode::NOT_MODIFIED, Bytes::new()),
            (false, true) => (StatusCode::OK, document.gzipped.clone()),
            (false, false) => (StatusCode::OK, document.text()?),
        };
        let mut response = present::with_type(code, "application/json", body);
        let to = response.headers_mut();
        if compressed && !known {
            to.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        to.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        to.insert(ETAG, HeaderValue::from_str(&etag).map_err(Status::internal)?);
        if params.text("hash") == Some(&document.hash) {
            to.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
        }
        Ok(response)
    }

    fn text(&self) -> Result<Bytes, Status> {
        let mut text = Vec::new();
        GzDecoder::new(&*self.gzipped).read_to_end(&mut text).map_err(Status::internal)?;
        Ok(text.into())
    }
}

fn make() -> Result<Made, Status> {
    let mut documents = BTreeMap::new();
    for (group, version) in openapi::group_versions() {
        let text =
            openapi::document(group, version).ok_or_else(|| Status::internal("a served group has a document"))?;
        let Document { gzipped, .. } = Document::pack(&text, String::new())?;
        documents.insert((group, version), (text, gzipped));
    }
    let index = openapi::index(|group, version| documents[&(group, version)].0.as_str());
    let hash = |group: &str, version: &str| {
        let root = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
        let url = index["paths"][&root]["serverRelativeURL"].as_str().unwrap_or_default();
        url.split_once("hash=").map_or("", |(_, hash)| hash).to_owned()
    };
    let documents = documents
        .into_iter()
        .map(|((group, version), (_, gzipped))| ((group, version), Document { gzipped, hash: hash(group, version) }));
    Ok(Made { documents: documents.collect(), index: json::write(&index).into() })
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let all = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    all.flat_map(|v| v.split(',')).any(|coding| coding.trim().split(';').next() == Some("gzip"))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn body(response: Response<Body>) -> Vec<u8> {
        response.into_body().collect().await.unwrap().to_bytes().to_vec()
    }

    #[tokio::test]
    async fn every_document_of_the_index_is_there_under_its_hash() {
        let api = OpenApi::default();
        let index: Value =
            serde_json::from_slice(&body(api.index(&HeaderMap::new(), &Catalog::default()).await.unwrap()).await)
                .unwrap();
        let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
        let params = Params::parse(url.split_once('?').unwrap().1);
        let response = api.document("apps", "v1", &HeaderMap::new(), &params).await.unwrap();
        assert!(response.headers()[CACHE_CONTROL].to_str().unwrap().contains("immutable"));
        let plain: Value = serde_json::from_slice(&body(response).await).unwrap();
        assert!(plain["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"].is_object());
        assert_eq!(api.document("x", "v1", &HeaderMap::new(), &params).await.unwrap_err().code, 404);
    }

    #[tokio::test]
    async fn a_client_that_can_gets_it_compressed_and_one_that_has_it_gets_nothing() {
        let api = OpenApi::default();
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, "deflate, gzip;q=1.0".parse().unwrap());
        let response = api.document("", "v1", &headers, &Params::default()).await.unwrap();
        assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
        let etag = response.headers()[ETAG].clone();
        let mut text = Vec::new();
        GzDecoder::new(&*body(response).await).read_to_end(&mut text).unwrap();
        assert!(text.starts_with(b"{\"") && text.len() > 100_000);
        headers.insert(IF_NONE_MATCH, etag);
        let response = api.document("", "v1", &headers, &Params::default()).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        assert!(body(response).await.is_empty());
    }
}
