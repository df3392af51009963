//! A hub on loopback, with one repository: commits, listings in pages, files behind redirects, gates, and
//! faults on request. Large files are on a second host, as Hugging Face keeps them, which refuses whoever
//! brings a token. `tests/hub` shows with a client of others that it speaks the protocol.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
    path::Path as FilePath,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use tokio::{net::TcpListener, sync::watch};

/// The repository.
pub(crate) const REPO: &str = "org/model";
/// Files of this many bytes and more are kept as large ones.
const LARGE_BYTES: usize = 10_000;
/// Files of one page of a listing.
const PAGE: usize = 3;

/// What goes wrong with one request for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// This status, and nothing else.
    Status(u16),
    /// The connection breaks after so many bytes.
    Cut(usize),
    /// The connection falls silent after so many bytes, until [`Hub::release`].
    Stall(usize),
    /// The byte at this place is another one.
    Flip(usize),
}

/// A request, as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Method and path.
    pub(crate) line: String,
    /// Its range.
    pub(crate) range: Option<String>,
    /// It brought a token.
    pub(crate) with_token: bool,
}

struct Shared {
    files: Mutex<BTreeMap<String, Bytes>>,
    /// Who may read, if not everyone.
    token: Mutex<Option<String>>,
    faults: Mutex<HashMap<String, VecDeque<Fault>>>,
    seen: Mutex<Vec<Seen>>,
    /// Bytes that went out, by file.
    served: Mutex<HashMap<String, u64>>,
    /// Replaces what the listing says.
    listing: Mutex<Option<Value>>,
    released: watch::Sender<bool>,
    storage: SocketAddr,
}

/// The hub. It ends with the process.
pub(crate) struct Hub {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Hub {
    /// Serves the files from threads of its own.
    pub(crate) fn start(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let listen = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
            listener
                .set_nonblocking(true)
                .expect("sockets can be non-blocking");
            (listener.local_addr().expect("it is bound"), listener)
        };
        let ((address, hub), (storage, large)) = (listen(), listen());
        let files = files
            .into_iter()
            .map(|(name, content)| (name, content.into()));
        let shared = Arc::new(Shared {
            files: Mutex::new(files.collect()),
            token: Mutex::default(),
            faults: Mutex::default(),
            seen: Mutex::default(),
            served: Mutex::default(),
            listing: Mutex::default(),
            released: watch::Sender::new(false),
            storage,
        });
        let routers = [(hub, hub_router(&shared)), (large, storage_router(&shared))];
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("threads can be had");
            runtime.block_on(async {
                let served = routers.map(|(listener, router)| async {
                    let listener = TcpListener::from_std(listener).expect("a runtime runs");
                    axum::serve(listener, router).await
                });
                futures::future::join_all(served).await
            })
        });
        Self { address, shared }
    }

    /// Serves the files of a folder.
    pub(crate) fn of_folder(folder: &FilePath) -> Self {
        let entries = std::fs::read_dir(folder).expect("the folder is there");
        Self::start(
            entries
                .flatten()
                .filter(|entry| entry.path().is_file())
                .map(|entry| {
                    let content = std::fs::read(entry.path()).expect("files are readable");
                    (entry.file_name().to_string_lossy().into_owned(), content)
                }),
        )
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The commit that every branch and tag is.
    pub(crate) fn commit(&self) -> String {
        commit(&self.shared)
    }

    pub(crate) fn put(&self, name: &str, content: &[u8]) {
        let content = Bytes::copy_from_slice(content);
        self.shared
            .files
            .lock()
            .unwrap()
            .insert(name.into(), content);
    }

    pub(crate) fn file(&self, name: &str) -> Bytes {
        self.shared.files.lock().unwrap()[name].clone()
    }

    pub(crate) fn require_token(&self, token: &str) {
        *self.shared.token.lock().unwrap() = Some(token.into());
    }

    pub(crate) fn set_listing(&self, listing: Value) {
        *self.shared.listing.lock().unwrap() = Some(listing);
    }

    /// One fault for each of the next requests for the content of a file.
    pub(crate) fn fail(&self, name: &str, faults: &[Fault]) {
        let mut all = self.shared.faults.lock().unwrap();
        all.entry(name.into()).or_default().extend(faults);
    }

    /// Connections that fell silent go on.
    pub(crate) fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// What arrived since the last call.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.shared.seen.lock().unwrap())
    }

    /// Bytes of a file that went out since the start.
    pub(crate) fn served(&self, name: &str) -> u64 {
        self.shared
            .served
            .lock()
            .unwrap()
            .get(name)
            .copied()
            .unwrap_or(0)
    }
}

fn hub_router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/api/models/{org}/{repo}", get(main_branch))
        .route(
            "/api/models/{org}/{repo}/revision/{revision}",
            get(revision),
        )
        .route("/api/models/{org}/{repo}/tree/{revision}", get(tree))
        .route("/{org}/{repo}/resolve/{revision}/{*file}", get(resolve))
        .route(
            "/api/resolve-cache/models/{org}/{repo}/{revision}/{*file}",
            get(small),
        )
        .layer(middleware::from_fn_with_state(Arc::clone(shared), gate))
        .with_state(Arc::clone(shared))
}

fn storage_router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/blobs/{oid}/{*file}", get(large))
        .with_state(Arc::clone(shared))
}

/// Notes the request, and lets nobody in who may not read.
async fn gate(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    note(
        &shared,
        request.method(),
        request.uri().path(),
        request.headers(),
    );
    let path = request.uri().path();
    if !path.contains(REPO) {
        let code = ("x-error-code", "RepoNotFound");
        let said = ("x-error-message", "Repository not found");
        return (StatusCode::UNAUTHORIZED, [code, said]).into_response();
    }
    let wanted = shared.token.lock().unwrap().clone();
    let brought = request.headers().get(header::AUTHORIZATION);
    let brought = brought.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if wanted.is_some() && wanted.as_deref() != brought {
        let status = match brought {
            None => StatusCode::UNAUTHORIZED,
            Some(_) => StatusCode::FORBIDDEN,
        };
        let code = ("x-error-code", "GatedRepo");
        let said = (
            "x-error-message",
            "Access to model org/model is restricted.",
        );
        return (status, [code, said]).into_response();
    }
    next.run(request).await
}

fn note(shared: &Shared, method: &Method, path: &str, headers: &HeaderMap) {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    shared.seen.lock().unwrap().push(Seen {
        line: format!("{method} {path}"),
        range: text(header::RANGE).map(str::to_owned),
        with_token: headers.contains_key(header::AUTHORIZATION),
    });
}

fn commit(shared: &Shared) -> String {
    let mut sha1 = Sha1::new();
    for (name, content) in shared.files.lock().unwrap().iter() {
        sha1.update(name);
        sha1.update(content);
    }
    hex(&sha1.finalize())
}

/// Branches and tags are `main` and `v1`; a commit is itself.
fn known(shared: &Shared, revision: &str) -> Result<String, NotThere> {
    let commit = commit(shared);
    if ["main", "v1", &commit].contains(&revision) {
        return Ok(commit);
    }
    Err(NotThere("RevisionNotFound", "Invalid rev id"))
}

/// Code and message of what the hub does not have.
struct NotThere(&'static str, &'static str);

impl IntoResponse for NotThere {
    fn into_response(self) -> Response {
        let headers = [("x-error-code", self.0), ("x-error-message", self.1)];
        (StatusCode::NOT_FOUND, headers).into_response()
    }
}

async fn main_branch(
    shared: State<Arc<Shared>>,
    Path((org, repo)): Path<(String, String)>,
) -> Result<Response, NotThere> {
    revision(shared, Path((org, repo, "main".to_owned()))).await
}

async fn revision(
    State(shared): State<Arc<Shared>>,
    Path((org, repo, revision)): Path<(String, String, String)>,
) -> Result<Response, NotThere> {
    let sha = known(&shared, &revision)?;
    let files = shared.files.lock().unwrap();
    let siblings: Vec<_> = files
        .keys()
        .map(|name| json!({"rfilename": name}))
        .collect();
    let id = format!("{org}/{repo}");
    let info = json!({
        "_id": "1", "id": id, "modelId": id, "sha": sha, "private": false, "gated": false,
        "disabled": false, "tags": [], "downloads": 0, "likes": 0, "siblings": siblings,
    });
    Ok(Json(info).into_response())
}

async fn tree(
    State(shared): State<Arc<Shared>>,
    Path((_, _, revision)): Path<(String, String, String)>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Result<Response, NotThere> {
    known(&shared, &revision)?;
    if let Some(listing) = shared.listing.lock().unwrap().clone() {
        return Ok(Json(listing).into_response());
    }
    let skip = query
        .get("cursor")
        .and_then(|cursor| cursor.parse().ok())
        .unwrap_or(0);
    let files = shared.files.lock().unwrap();
    let entry = |(name, content): (&String, &Bytes)| {
        let mut entry = json!({
            "type": "file", "path": name, "size": content.len(), "oid": git_blob(content),
        });
        if is_large(content) {
            entry["lfs"] =
                json!({"oid": sha256(content), "size": content.len(), "pointerSize": 134});
        }
        entry
    };
    let page: Vec<_> = files.iter().skip(skip).take(PAGE).map(entry).collect();
    let mut response = Json(page).into_response();
    if skip + PAGE < files.len() {
        let host = request.headers()[header::HOST].to_str().unwrap_or_default();
        let (path, cursor) = (request.uri().path(), skip + PAGE);
        let next = format!("<http://{host}{path}?recursive=true&cursor={cursor}>; rel=\"next\"");
        let next = next.parse().expect("a URL is a header's value");
        response.headers_mut().insert(header::LINK, next);
    }
    Ok(response)
}

async fn resolve(
    State(shared): State<Arc<Shared>>,
    Path((org, repo, revision, file)): Path<(String, String, String, String)>,
) -> Result<Response, NotThere> {
    let commit = known(&shared, &revision)?;
    let content = content(&shared, &file)?;
    let mut response = Response::builder()
        .header("x-repo-commit", &commit)
        .header("x-linked-size", content.len());
    response = if is_large(&content) {
        let (oid, storage) = (sha256(&content), shared.storage);
        let location = format!("http://{storage}/blobs/{oid}/{file}?signature=secret-of-storage");
        response
            .status(StatusCode::FOUND)
            .header("x-linked-etag", format!("\"{oid}\""))
            .header(header::LOCATION, location)
    } else {
        let location = format!("/api/resolve-cache/models/{org}/{repo}/{commit}/{file}");
        response
            .status(StatusCode::TEMPORARY_REDIRECT)
            .header(header::ETAG, format!("\"{}\"", git_blob(&content)))
            .header(header::LOCATION, location)
    };
    Ok(response.body(Body::empty()).expect("the headers are valid"))
}

async fn small(
    State(shared): State<Arc<Shared>>,
    Path((_, _, revision, file)): Path<(String, String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, NotThere> {
    let content = content(&shared, &file)?;
    let mut response = send(&shared, &file, content.clone(), &method, &headers).await;
    let etag = format!("\"{}\"", git_blob(&content));
    for (name, value) in [("x-repo-commit", revision), ("etag", etag)] {
        response
            .headers_mut()
            .insert(name, value.parse().expect("hexadecimal digits"));
    }
    Ok(response)
}

async fn large(
    State(shared): State<Arc<Shared>>,
    Path((_, file)): Path<(String, String)>,
    request: Request,
) -> Result<Response, NotThere> {
    note(
        &shared,
        request.method(),
        request.uri().path(),
        request.headers(),
    );
    // Storage knows its signature only, and takes anything else for an attack.
    if request.headers().contains_key(header::AUTHORIZATION) {
        let said = "only one way to authenticate";
        return Ok((StatusCode::BAD_REQUEST, said).into_response());
    }
    let content = content(&shared, &file)?;
    Ok(send(&shared, &file, content, request.method(), request.headers()).await)
}

fn content(shared: &Shared, file: &str) -> Result<Bytes, NotThere> {
    let found = shared.files.lock().unwrap().get(file).cloned();
    found.ok_or(NotThere("EntryNotFound", "Entry not found"))
}

/// The content, or the part of it that was asked for, with whatever is to go wrong.
async fn send(
    shared: &Arc<Shared>,
    file: &str,
    content: Bytes,
    method: &Method,
    headers: &HeaderMap,
) -> Response {
    let whole = content.len();
    let from = headers
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok()?.strip_prefix("bytes="))
        .and_then(|range| range.strip_suffix('-')?.parse().ok())
        .unwrap_or(0);
    if from >= whole && from > 0 {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let mut response = Response::builder().header(header::CONTENT_LENGTH, whole - from);
    if from > 0 {
        let range = format!("bytes {from}-{}/{whole}", whole - 1);
        response = response
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, range);
    }
    if method == Method::HEAD {
        return response.body(Body::empty()).expect("the headers are valid");
    }
    let fault = {
        let mut faults = shared.faults.lock().unwrap();
        faults.get_mut(file).and_then(VecDeque::pop_front)
    };
    if let Some(Fault::Status(status)) = fault {
        return StatusCode::from_u16(status)
            .expect("a status")
            .into_response();
    }
    let body = body(shared, file, content.slice(from..), fault);
    response.body(body).expect("the headers are valid")
}

fn body(shared: &Arc<Shared>, file: &str, mut rest: Bytes, fault: Option<Fault>) -> Body {
    if let Some(Fault::Flip(at)) = fault {
        let mut flipped = rest.to_vec();
        flipped[at] ^= 1;
        rest = flipped.into();
    }
    let stop = match fault {
        Some(Fault::Cut(bytes) | Fault::Stall(bytes)) => bytes.min(rest.len()),
        _ => rest.len(),
    };
    let (shared, file) = (Arc::clone(shared), file.to_owned());
    let counted = {
        let shared = Arc::clone(&shared);
        move |chunk: Bytes| {
            *shared
                .served
                .lock()
                .unwrap()
                .entry(file.clone())
                .or_default() += chunk.len() as u64;
            Ok::<_, std::io::Error>(chunk)
        }
    };
    let after = rest.split_off(stop);
    let chunk = |bytes: Bytes| -> Vec<Bytes> {
        bytes.chunks(16 << 10).map(Bytes::copy_from_slice).collect()
    };
    let first = stream::iter(chunk(rest)).map(counted.clone());
    let mut released = shared.released.subscribe();
    let second = stream::once(async move {
        match fault {
            Some(Fault::Cut(_)) => {
                // What was sent so far reaches the other side before the end does.
                tokio::time::sleep(Duration::from_millis(20)).await;
                vec![None]
            }
            Some(Fault::Stall(_)) => {
                // The sender lives as long as the hub.
                let _ = released.wait_for(|released| *released).await;
                chunk(after).into_iter().map(Some).collect()
            }
            _ => Vec::new(),
        }
    });
    let second = second.flat_map(stream::iter).map(move |chunk| match chunk {
        Some(chunk) => counted(chunk),
        None => Err(std::io::Error::other("cut")),
    });
    Body::from_stream(first.chain(second))
}

fn is_large(content: &Bytes) -> bool {
    content.len() >= LARGE_BYTES
}

fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

fn git_blob(content: &[u8]) -> String {
    let mut sha1 = Sha1::new_with_prefix(format!("blob {}\0", content.len()));
    sha1.update(content);
    hex(&sha1.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
