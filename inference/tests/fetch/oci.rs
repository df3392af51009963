//! `oci://`: an artifact of files in a registry that asks for credentials. The registry is the crate
//! `container-registry`; it knows no ranges, which a layer in front of it adds, with faults.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use container_registry::ContainerRegistry;
use futures::{StreamExt, stream};
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{body::Frame, service::Service};
use hyper_util::service::TowerToHyperService;
use oci_client::{
    Client, Reference,
    annotations::ORG_OPENCONTAINERS_IMAGE_TITLE,
    client::{ClientConfig, ClientProtocol, Config, ImageLayer},
    manifest::{OCI_IMAGE_MEDIA_TYPE, OciImageManifest},
    secrets::RegistryAuth,
};

use crate::{
    hub_pull::{WEIGHTS, content},
    net::{self, AnyBody},
    program::{Machine, names},
};

const USER: &str = "robot";
const PASSWORD: &str = "very-secret";

/// The registry, bytes after which the next blobs break off, and the ranges that were asked for.
struct Registry {
    address: SocketAddr,
    cuts: Arc<Mutex<VecDeque<usize>>>,
    ranges: Arc<Mutex<Vec<String>>>,
    _folder: tempfile::TempDir,
}

impl Registry {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let passwords = HashMap::from([(USER.to_owned(), sec::Secret::new(PASSWORD.to_owned()))]);
        let registry = ContainerRegistry::builder()
            .auth_provider(Arc::new(passwords))
            .storage(folder.path())
            .build()
            .unwrap();
        let service = TowerToHyperService::new(registry.make_router());
        let cuts = Arc::<Mutex<VecDeque<usize>>>::default();
        let ranges = Arc::<Mutex<Vec<String>>>::default();
        let (all_cuts, all_ranges) = (Arc::clone(&cuts), Arc::clone(&ranges));
        let address = net::serve(move |request| {
            let (service, cuts) = (service.clone(), Arc::clone(&all_cuts));
            let range = request.headers().get(header::RANGE).cloned();
            let range = range.and_then(|range| range.to_str().ok().map(str::to_owned));
            let of_blob = request.method() == "GET" && request.uri().path().contains("/blobs/");
            all_ranges.lock().unwrap().extend(range.clone());
            async move {
                let answer = service.call(request).await.unwrap();
                if !of_blob || answer.status() != StatusCode::OK {
                    return answer.map(|body| body.map_err(Into::into).boxed_unsync());
                }
                let (mut head, body) = answer.into_parts();
                let mut content = body.collect().await.unwrap().to_bytes();
                if let Some(start) = range.as_deref().and_then(first_byte) {
                    let whole = content.len();
                    content = content.slice(start..);
                    let range = format!("bytes {start}-{}/{whole}", whole - 1);
                    head.headers
                        .insert(header::CONTENT_RANGE, range.parse().unwrap());
                    head.status = StatusCode::PARTIAL_CONTENT;
                }
                head.headers
                    .insert(header::CONTENT_LENGTH, content.len().into());
                let cut = cuts.lock().unwrap().pop_front();
                Response::from_parts(head, cut_off(content, cut))
            }
        });
        Self {
            address,
            cuts,
            ranges,
            _folder: folder,
        }
    }

    fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Pushes files as `oras push` does, with a client that is not ours; returns the digest.
    fn push(&self, name: &str, files: &[(&str, Vec<u8>)]) -> String {
        let layers: Vec<_> = files
            .iter()
            .map(|(name, content)| {
                let title = (
                    ORG_OPENCONTAINERS_IMAGE_TITLE.to_owned(),
                    (*name).to_owned(),
                );
                let media_type = "application/octet-stream".to_owned();
                ImageLayer::new(content.clone(), media_type, Some(BTreeMap::from([title])))
            })
            .collect();
        let empty = "application/vnd.oci.empty.v1+json".to_owned();
        let config = Config::new(b"{}".to_vec(), empty, None);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::new(ClientConfig {
            protocol: ClientProtocol::Http,
            ..ClientConfig::default()
        });
        let reference: Reference = self.reference(name).parse().unwrap();
        let auth = RegistryAuth::Basic(USER.into(), PASSWORD.into());
        net::runtime().block_on(async {
            let mut manifest = OciImageManifest::build(&layers, &config, None);
            manifest.media_type = Some(OCI_IMAGE_MEDIA_TYPE.to_owned());
            let pushed = client.push(&reference, &layers, config, &auth, Some(manifest));
            pushed.await.unwrap();
            client
                .fetch_manifest_digest(&reference, &auth)
                .await
                .unwrap()
        })
    }
}

fn first_byte(range: &str) -> Option<usize> {
    range
        .strip_prefix("bytes=")?
        .strip_suffix('-')?
        .parse()
        .ok()
}

fn cut_off(content: Bytes, cut: Option<usize>) -> AnyBody {
    let Some(bytes) = cut else {
        return Full::new(content).map_err(Into::into).boxed_unsync();
    };
    let sent = Frame::data(content.slice(..bytes.min(content.len())));
    let broken = async {
        // What was sent so far reaches the other side before the end does.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(Box::from("cut"))
    };
    let frames = stream::iter([Ok(sent)]).chain(stream::once(broken));
    StreamBody::new(frames).boxed_unsync()
}

/// A machine that is logged in.
fn machine(registry: &Registry, password: &str) -> Machine {
    let machine = Machine::new().set("CANDELA_LOG", "debug");
    let auth = BASE64_STANDARD.encode(format!("{USER}:{password}"));
    let config = serde_json::json!({"auths": {registry.address.to_string(): {"auth": auth}}});
    fs::write(machine.home().join("config.json"), config.to_string()).unwrap();
    let folder = machine.home().to_str().unwrap().to_owned();
    machine.set("DOCKER_CONFIG", &folder)
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("config.json", b"{}".to_vec()),
        ("tokenizer.json", content(20_000)),
        (WEIGHTS, content(300_000)),
        ("README.md", b"x".to_vec()),
    ]
}

#[test]
fn an_artifact_of_files_is_a_model() {
    let registry = Registry::start();
    let digest = registry.push("team/m:v1", &files());
    let machine = machine(&registry, PASSWORD);
    let model = format!("oci://{}", registry.reference("team/m:v1"));
    let folder = machine.pulled(&model);
    let wanted = [".candela.json", "config.json", WEIGHTS, "tokenizer.json"];
    assert_eq!(names(&folder), wanted);
    assert_eq!(fs::read(folder.join(WEIGHTS)).unwrap(), content(300_000));
    let pinned = format!("oci://{}@{digest}", registry.reference("team/m"));
    assert_eq!(machine.pulled(&pinned), folder);
    // A tag can be moved; the old content stays under its digest.
    registry.push("team/m:v1", &[("m.gguf", content(1000))]);
    let file = machine.pulled(&model);
    assert_eq!(fs::read(&file).unwrap(), content(1000));
    assert_eq!(machine.pulled(&pinned), folder);
}

#[test]
fn a_blob_that_breaks_off_goes_on() {
    let registry = Registry::start();
    registry.push("team/m:v1", &[("m.gguf", content(300_000))]);
    registry.cuts.lock().unwrap().extend([100_000, 50_000]);
    let machine = machine(&registry, PASSWORD);
    let file = machine.pulled(&format!("oci://{}", registry.reference("team/m:v1")));
    assert_eq!(fs::read(file).unwrap(), content(300_000));
    let ranges = registry.ranges.lock().unwrap();
    assert!(!ranges.is_empty() && ranges.iter().all(|range| range.starts_with("bytes=")));
}

#[test]
fn what_a_registry_refuses_is_said_with_what_to_do() {
    let registry = Registry::start();
    registry.push("team/m:v1", &files());
    registry.push("team/bad:v1", &[("../x", b"x".to_vec())]);
    let model = format!("oci://{}", registry.reference("team/m:v1"));
    for log in [
        Machine::new().refused(&model),
        machine(&registry, "wrong-password").refused(&model),
    ] {
        assert!(
            log.contains("DOCKER_CONFIG") && !log.contains("wrong-password"),
            "{log}"
        );
    }
    let machine = machine(&registry, PASSWORD);
    let log = machine.refused(&format!("oci://{}", registry.reference("team/m:v2")));
    assert!(log.contains("team/m:v2"), "{log}");
    let log = machine.refused(&format!("oci://{}", registry.reference("team/bad:v1")));
    assert!(
        log.contains("not a name inside a folder") && !log.contains("secret"),
        "{log}"
    );
    fs::write(machine.home().join("config.json"), "{").unwrap();
    let log = machine.refused(&model);
    assert!(log.contains("DOCKER_CONFIG: "), "{log}");
}
