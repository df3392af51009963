//! A hub that speaks Hugging Face's protocol: commits, listings with checksums, files by commit.
//!
//! Its API is that of <https://huggingface.co/docs/hub/api>. We speak it ourselves: the crate `hf-hub`
//! does not continue interrupted downloads, checks no checksums, and brings a second transport.

use std::{env, fs, io::Read, path::PathBuf, time::Duration};

use futures::StreamExt;
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_RANGE, HeaderMap, HeaderValue, LINK, RANGE},
};
use serde::Deserialize;

use super::{
    error::{Failure, FetchError},
    http, limits,
    remote::{self, Body, Digest, RemoteFile, Source},
    uri,
};

const PUBLIC_HUB: &str = "https://huggingface.co";
const ERROR_CODE: &str = "x-error-code";
const ERROR_MESSAGE: &str = "x-error-message";

/// What the environment says of hubs, under the names that `huggingface_hub` reads.
pub(super) struct HubSettings {
    endpoint: Url,
    token: Option<HeaderValue>,
    idle_timeout: Duration,
    /// Nothing may be asked.
    pub(super) offline: bool,
}

impl HubSettings {
    pub(super) fn from_environment() -> Result<Self, FetchError> {
        let text = variable("HF_ENDPOINT").unwrap_or_else(|| PUBLIC_HUB.to_owned());
        let on = |text: String| matches!(text.to_lowercase().as_str(), "1" | "true" | "yes" | "on");
        Ok(Self {
            endpoint: endpoint(&text)?,
            token: token()?,
            idle_timeout: variable("HF_HUB_DOWNLOAD_TIMEOUT")
                .map_or(Ok(limits::IDLE_TIMEOUT), |text| idle_timeout(&text))?,
            offline: variable("HF_HUB_OFFLINE").is_some_and(on),
        })
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The URL of a hub, which is in errors and in the log: it must not hold a secret.
fn endpoint(text: &str) -> Result<Url, FetchError> {
    let url = Url::parse(text.trim_end_matches('/')).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.query().is_none());
    let with_user = match &url {
        Some(url) => !url.username().is_empty() || url.password().is_some(),
        None => text.contains('@'),
    };
    let refused = |reason: String| FetchError::Setting {
        name: "HF_ENDPOINT",
        reason,
    };
    if with_user {
        return Err(refused(
            "the URL of a hub holds no user or password; give a token by HF_TOKEN".to_owned(),
        ));
    }
    url.ok_or_else(|| refused(format!("{text} is not the URL of a hub")))
}

fn idle_timeout(text: &str) -> Result<Duration, FetchError> {
    let seconds = text.parse().ok().filter(|&seconds| seconds > 0);
    let seconds = seconds.ok_or_else(|| FetchError::Setting {
        name: "HF_HUB_DOWNLOAD_TIMEOUT",
        reason: format!("{text} is not a whole number of seconds above 0"),
    })?;
    Ok(Duration::from_secs(seconds))
}

/// The token, ready to be sent and marked as not to be shown: `HF_TOKEN`, else the content of the file
/// `HF_TOKEN_PATH`, else of `token` in `HF_HOME` or in its default.
fn token() -> Result<Option<HeaderValue>, FetchError> {
    if let Some(token) = variable("HF_TOKEN") {
        return bearer("HF_TOKEN", &token).map(Some);
    }
    let named = variable("HF_TOKEN_PATH").map(PathBuf::from);
    let home = variable("HF_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache/huggingface")));
    let optional = named.is_none();
    let Some(path) = named.or_else(|| Some(home?.join("token"))) else {
        return Ok(None);
    };
    let mut text = String::new();
    match fs::File::open(&path) {
        Err(_) if optional => return Ok(None),
        opened => opened
            .and_then(|file| file.take(limits::TOKEN_BYTES_MAX).read_to_string(&mut text))
            .map_err(|error| FetchError::Setting {
                name: "HF_TOKEN_PATH",
                reason: format!("{}: {error}", path.display()),
            })?,
    };
    if text.trim().is_empty() && optional {
        return Ok(None);
    }
    bearer("HF_TOKEN_PATH", &text).map(Some)
}

fn bearer(name: &'static str, token: &str) -> Result<HeaderValue, FetchError> {
    let token = token.trim();
    let visible = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let value = visible.then(|| HeaderValue::try_from(format!("Bearer {token}")).ok());
    let mut value = value.flatten().ok_or(FetchError::Setting {
        name,
        reason: "holds no token: it should be one word of printable ASCII".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// A repository on a hub.
pub(super) struct Hub {
    client: Client,
    endpoint: Url,
    token: Option<HeaderValue>,
    repo: String,
    revision: String,
}

#[derive(Deserialize)]
struct Revision {
    sha: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    /// Of git: of a blob, or of a pointer to a large file.
    #[serde(default)]
    oid: String,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

impl Hub {
    pub(super) fn new(
        settings: HubSettings,
        repo: String,
        revision: String,
        plain_http: bool,
    ) -> Result<Self, FetchError> {
        let HubSettings {
            endpoint,
            token,
            idle_timeout,
            offline: _,
        } = settings;
        http::check_plain(&endpoint, plain_http)?;
        Ok(Self {
            client: http::build(http::client(idle_timeout, plain_http)?)?,
            endpoint,
            token,
            repo,
            revision,
        })
    }

    fn what(&self) -> String {
        format!(
            "{} at {}",
            self.repo,
            self.endpoint.as_str().trim_end_matches('/')
        )
    }

    /// A URL below the endpoint. A revision is one segment: its slashes are escaped.
    fn url<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    async fn get(&self, what: &str, url: Url, from: u64) -> Result<Response, Failure> {
        let mut request = self.client.get(url);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let sent = request.send().await;
        let response = sent.map_err(|error| http::transport(what, error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(what, response.status(), response.headers()))
    }

    /// What an error of the hub means, and what to do about it.
    fn refusal(&self, what: &str, status: StatusCode, headers: &HeaderMap) -> Failure {
        let header = |name| {
            headers
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        let code = header(ERROR_CODE).unwrap_or_default();
        let said: String = header(ERROR_MESSAGE)
            .map_or_else(|| status.to_string(), |text| format!("{status}: {text}"))
            .chars()
            .take(limits::EXPLANATION_CHARS_MAX)
            .collect();
        let what = what.to_owned();
        let denied = |remedy: String| FetchError::Denied {
            what: what.clone(),
            reason: said.clone(),
            remedy,
        };
        let page = format!(
            "{}/{}",
            self.endpoint.as_str().trim_end_matches('/'),
            self.repo
        );
        let token = match self.token {
            None => "set HF_TOKEN, or HF_TOKEN_PATH, to a token that may read it".to_owned(),
            Some(_) => "the token that is set may not read it: check HF_TOKEN".to_owned(),
        };
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if code == "GatedRepo" => denied(
                format!("the model is gated: ask for access at {page}, then {token}"),
            )
            .into(),
            StatusCode::UNAUTHORIZED if code == "RepoNotFound" => denied(format!(
                "there is no such model, or it is private: check its name, or {token}"
            ))
            .into(),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => denied(token).into(),
            StatusCode::NOT_FOUND => FetchError::NotFound {
                what,
                reason: format!("{said}; check the names of model, file and revision"),
            }
            .into(),
            _ => http::status(&what, status, headers),
        }
    }

    /// The next page of a listing, if it is on the same hub.
    fn next_page(&self, headers: &HeaderMap) -> Option<Url> {
        let links = headers.get(LINK)?.to_str().ok()?;
        let next = links
            .split(',')
            .find(|link| link.contains("rel=\"next\""))?;
        let target = next.split_once('<')?.1.split_once('>')?.0;
        let url = self.endpoint.join(target).ok()?;
        (url.origin() == self.endpoint.origin()).then_some(url)
    }
}

impl Source for Hub {
    fn pinned(&self) -> Option<String> {
        uri::is_commit(&self.revision).then(|| self.revision.clone())
    }

    async fn resolve(&self) -> Result<String, Failure> {
        let what = format!("{}, revision {}", self.what(), self.revision);
        let path = ["api", "models"].into_iter().chain(self.repo.split('/'));
        let url = self.url(path.chain(["revision", self.revision.as_str()]));
        let response = self.get(&what, url, 0).await?;
        let body = http::bounded_body(&what, response, limits::LISTING_BYTES_MAX).await?;
        let revision: Revision =
            serde_json::from_slice(&body).map_err(|error| http::answer(&what, error))?;
        if !uri::is_commit(&revision.sha) {
            return Err(http::answer(&what, "it names no commit").into());
        }
        Ok(revision.sha)
    }

    async fn list(&self, version: &str) -> Result<Vec<RemoteFile>, Failure> {
        let what = format!("{}, files of {version}", self.what());
        let path = ["api", "models"].into_iter().chain(self.repo.split('/'));
        let mut url = self.url(path.chain(["tree", version]));
        url.query_pairs_mut().append_pair("recursive", "true");
        let mut files = Vec::new();
        let mut next = Some(url);
        for _ in 0..limits::LISTING_PAGES_MAX {
            let Some(url) = next else { return Ok(files) };
            let response = self.get(&what, url, 0).await?;
            next = self.next_page(response.headers());
            let body = http::bounded_body(&what, response, limits::LISTING_BYTES_MAX).await?;
            let page: Vec<Entry> =
                serde_json::from_slice(&body).map_err(|error| http::answer(&what, error))?;
            let page = page.into_iter().filter(|entry| entry.kind == "file");
            files.extend(page.map(remote_file));
            remote::check_count(&what, files.len())?;
        }
        Err(http::answer(&what, "the listing has too many pages").into())
    }

    async fn open(&self, version: &str, file: &RemoteFile, offset: u64) -> Result<Body, Failure> {
        let path = self.repo.split('/').chain(["resolve", version]);
        let url = self.url(path.chain(file.name.split('/')));
        let what = format!("{}: {}", self.what(), file.name);
        let response = self.get(&what, url, offset).await?;
        Ok(Body {
            start: start_of(&response),
            digest_is_other: false,
            chunks: response
                .bytes_stream()
                .map(move |chunk| chunk.map_err(|error| http::transport(&what, error)))
                .boxed(),
        })
    }
}

fn remote_file(entry: Entry) -> RemoteFile {
    let (size, digest) = match entry.lfs {
        Some(lfs) => (lfs.size, Digest::checked(&lfs.oid, 64, Digest::Sha256)),
        None => (entry.size, Digest::checked(&entry.oid, 40, Digest::GitBlob)),
    };
    RemoteFile {
        key: entry.path.clone(),
        name: entry.path,
        size,
        digest: digest.unwrap_or(Digest::None),
        tag: None,
    }
}

/// The first byte that an answer brings, by its `Content-Range` (RFC 9110, 14.4).
pub(super) fn start_of(response: &Response) -> u64 {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return 0;
    }
    let range = response.headers().get(CONTENT_RANGE);
    let start = range
        .and_then(|range| range.to_str().ok()?.strip_prefix("bytes "))
        .and_then(|range| range.split_once('-')?.0.trim().parse().ok());
    // A part of we do not know what is not the part that was asked for.
    start.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderName;

    use super::*;

    fn hub(endpoint: &str, token: Option<&str>) -> Hub {
        let settings = HubSettings {
            endpoint: Url::parse(endpoint).unwrap(),
            token: token.map(|token| bearer("HF_TOKEN", token).unwrap()),
            idle_timeout: limits::IDLE_TIMEOUT,
            offline: false,
        };
        Hub::new(settings, "org/repo".into(), "refs/pr/1".into(), false).unwrap()
    }

    #[test]
    fn a_revision_is_one_segment_below_the_endpoint() {
        let hub = hub("https://mirror.example/hf", None);
        let url = hub.url(["api", "models", "org", "repo", "revision", "refs/pr/1"]);
        assert_eq!(
            url.as_str(),
            "https://mirror.example/hf/api/models/org/repo/revision/refs%2Fpr%2F1"
        );
    }

    #[test]
    fn refusals_say_what_to_do() {
        let headers = |code: &'static str| {
            HeaderMap::from_iter([(
                HeaderName::from_static(ERROR_CODE),
                HeaderValue::from_static(code),
            )])
        };
        for (token, status, code, remedy) in [
            (
                None,
                401,
                "GatedRepo",
                "ask for access at https://hub.example/org/repo, then set HF_TOKEN",
            ),
            (Some("hf_x"), 403, "GatedRepo", "check HF_TOKEN"),
            (None, 401, "RepoNotFound", "check its name, or set HF_TOKEN"),
            (Some("hf_x"), 401, "", "may not read it"),
            (None, 404, "RevisionNotFound", "check the names"),
        ] {
            let hub = hub("https://hub.example", token);
            let status = StatusCode::from_u16(status).unwrap();
            let failure = hub.refusal("m", status, &headers(code));
            assert_eq!(failure.retry, crate::fetch::error::Retry::Never);
            let text = failure.error.to_string();
            assert!(text.contains(remedy) && !text.contains("hf_x"), "{text}");
        }
    }

    #[test]
    fn a_listing_continues_on_the_same_hub_only() {
        let hub = hub("https://hub.example", None);
        let next = |link: &str| {
            let value = HeaderValue::from_str(link).unwrap();
            hub.next_page(&HeaderMap::from_iter([(LINK, value)]))
        };
        let url = next(r#"<https://hub.example/a?cursor=b>; rel="next""#).unwrap();
        assert_eq!(url.as_str(), "https://hub.example/a?cursor=b");
        assert_eq!(next(r#"<https://other.example/a>; rel="next""#), None);
        assert_eq!(next(r#"<https://hub.example/a>; rel="prev""#), None);
    }

    #[test]
    fn an_endpoint_holds_no_secret() {
        for bad in [
            "https://user:secret@hub.example/hf",
            "https://secret@hub.example",
            "https://:secret@hub.example",
            "user:secret@hub.example",
            "https://user:secret@hub.example/?a=b",
        ] {
            let error = endpoint(bad).unwrap_err().to_string();
            assert!(
                error.contains("HF_TOKEN") && !error.contains("secret"),
                "{error}"
            );
        }
        assert!(endpoint("https://hub.example/@team/").is_ok());
    }

    #[test]
    fn a_timeout_is_a_time() {
        assert_eq!(idle_timeout("7").unwrap(), Duration::from_secs(7));
        for bad in ["0", "-1", "soon", "1.5"] {
            let error = idle_timeout(bad).unwrap_err().to_string();
            assert!(error.starts_with("HF_HUB_DOWNLOAD_TIMEOUT: "), "{error}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        assert!(!format!("{:?}", bearer("HF_TOKEN", " hf_secret\n").unwrap()).contains("secret"));
        for bad in ["", "a b", "a\nb", "\u{e4}"] {
            let error = bearer("HF_TOKEN", bad).unwrap_err().to_string();
            assert!(
                error.contains("HF_TOKEN") && !error.contains("a b"),
                "{error}"
            );
        }
    }
}
