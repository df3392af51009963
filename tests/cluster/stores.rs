//! A bucket and a registry with the demo model, on the node's address: servers that others wrote, on sockets of the bed.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use anyhow::{Context, anyhow};
use candela_tests::bed::NODES;
use container_registry::ContainerRegistry;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use oci_client::annotations::ORG_OPENCONTAINERS_IMAGE_TITLE;
use oci_client::client::{Client, ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::admission::service;
use crate::cluster::Cluster;
use crate::volumes::model_files;

const BUCKET: &str = "models";
const PREFIX: &str = "team/demo";
const BUCKET_PORT: u16 = 9091;
const ACCESS_KEY: &str = "AKIAEXAMPLE";
const SECRET_KEY: &str = "very/secret+key";
const ARTIFACT: &str = "team/demo:v1";
const REGISTRY_PORT: u16 = 9092;
const USER: &str = "robot";
const PASSWORD: &str = "very-secret";
/// User and password, as a `config.json` of Docker has them.
const BASIC: &str = "cm9ib3Q6dmVyeS1zZWNyZXQ=";

fn address(port: u16) -> SocketAddr {
    SocketAddr::from((NODES[0].address, port))
}

/// Services whose models come from a bucket and from a registry, each with its credentials.
pub(crate) fn are_downloaded_from(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    start(cluster)?;
    let keys = json!({"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY});
    secret(cluster, "bucket", "Opaque", &keys)?;
    let of_host = json!({address(REGISTRY_PORT).to_string(): {"auth": BASIC}});
    let config = json!({"auths": of_host}).to_string();
    let config = json!({".dockerconfigjson": config});
    secret(
        cluster,
        "registry",
        "kubernetes.io/dockerconfigjson",
        &config,
    )?;
    let bucket = json!({
        "model": {"uri": format!("s3://{BUCKET}/{PREFIX}"), "secretRef": {"name": "bucket"}},
        "engine": {"env": [
            {"name": "AWS_ENDPOINT_URL", "value": format!("http://{}", address(BUCKET_PORT))},
            {"name": "AWS_REGION", "value": "us-east-1"},
            {"name": "AWS_ALLOW_HTTP", "value": "true"},
        ]},
    });
    let registry = json!({
        "model": {
            "uri": format!("oci://{}/{ARTIFACT}", address(REGISTRY_PORT)),
            "secretRef": {"name": "registry"},
        },
        "engine": {"extraArgs": ["--download-plain-http"]},
    });
    let services = [("from-bucket", bucket), ("from-registry", registry)];
    for (name, spec) in &services {
        cluster.apply(&service(name, spec))?;
    }
    for (name, _) in &services {
        let status = cluster.wait_ready(name)?["status"].take();
        eprintln!("           {}", status["model"]);
        let bytes = status["model"]["sizeBytes"].as_u64();
        anyhow::ensure!(bytes.is_some_and(|bytes| bytes > 1_000_000), "{status}");
        cluster.kubectl(&["delete", "inferenceservice", name, "--wait=false"])?;
    }
    Ok(())
}

fn secret(cluster: &Cluster<'_>, name: &str, kind: &str, data: &Value) -> anyhow::Result<()> {
    cluster.apply(&json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "default"},
        "type": kind,
        "stringData": data,
    }))
}

/// Returns when both serve the model; they go on as long as the story.
fn start(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let folder = cluster.bed.folder().join("stores");
    let (filled, wait) = mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = cluster.bed.in_network(move || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build()?;
        runtime.block_on(async {
            bucket(&folder.join("bucket")).await?;
            registry(folder.join("registry")).await?;
            filled.send(())?;
            // The sender is dropped when the story ends.
            let _ = stopped.await;
            Ok(())
        })
    })?;
    if wait.recv().is_err() {
        let ended = thread.join().map_err(|_| anyhow!("it panicked"))?;
        return ended.context("serving a bucket and a registry");
    }
    cluster.keep(stop);
    Ok(())
}

async fn bucket(folder: &Path) -> anyhow::Result<()> {
    let place = folder.join(BUCKET).join(PREFIX);
    fs::create_dir_all(&place).context("making the bucket")?;
    for file in model_files() {
        let name = file.file_name().context("a file has no name")?;
        fs::copy(&file, place.join(name)).context("filling the bucket")?;
    }
    let objects = FileSystem::new(folder).map_err(|error| anyhow!("the bucket: {error:?}"))?;
    let mut service = S3ServiceBuilder::new(objects);
    service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let service = service.build();
    let answer = service_fn(move |request: Request<Incoming>| {
        let service = service.clone();
        async move {
            let answer = service.call(request.map(s3s::Body::from)).await;
            answer.map_err(|error| std::io::Error::other(format!("{error:?}")))
        }
    });
    serve(BUCKET_PORT, answer).await
}

/// Serves on a port of the node for as long as the story lasts.
async fn serve<S, B>(port: u16, service: S) -> anyhow::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let listener = TcpListener::bind(address(port)).await?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                // A pod that goes away is no fault of the store.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(())
}

async fn registry(folder: PathBuf) -> anyhow::Result<()> {
    fs::create_dir_all(&folder).context("making the registry")?;
    let passwords = HashMap::from([(USER.to_owned(), sec::Secret::new(PASSWORD.to_owned()))]);
    let registry = ContainerRegistry::builder()
        .auth_provider(Arc::new(passwords))
        .storage(&folder)
        .build()
        .map_err(|error| anyhow!("the registry: {error:?}"))?;
    let answer = TowerToHyperService::new(registry.make_router());
    serve(REGISTRY_PORT, answer).await?;
    push().await
}

/// As `oras push` does it.
async fn push() -> anyhow::Result<()> {
    let mut layers = Vec::new();
    for file in model_files() {
        let name = file.file_name().context("a file has no name")?;
        let title = name.to_string_lossy().into_owned();
        let annotations = BTreeMap::from([(ORG_OPENCONTAINERS_IMAGE_TITLE.to_owned(), title)]);
        let content = fs::read(&file).context("reading the model")?;
        let kind = "application/octet-stream".to_owned();
        layers.push(ImageLayer::new(content, kind, Some(annotations)));
    }
    let empty = "application/vnd.oci.empty.v1+json".to_owned();
    let config = Config::new(b"{}".to_vec(), empty, None);
    // Some other test may have done so.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::new(ClientConfig {
        protocol: ClientProtocol::Http,
        ..ClientConfig::default()
    });
    let reference = format!("{}/{ARTIFACT}", address(REGISTRY_PORT)).parse()?;
    let user = RegistryAuth::Basic(USER.into(), PASSWORD.into());
    let mut manifest = OciImageManifest::build(&layers, &config, None);
    manifest.media_type = Some(OCI_IMAGE_MEDIA_TYPE.to_owned());
    let pushed = client.push(&reference, &layers, config, &user, Some(manifest));
    pushed.await.context("pushing the model")?;
    Ok(())
}
