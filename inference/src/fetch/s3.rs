//! A bucket that speaks S3's protocol. Where it is and who asks is in the environment, under the names
//! that AWS's own tools read; the signatures are `object_store`'s.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use futures::StreamExt;
use http_body_util::{BodyExt, Collected, Limited};
use object_store::{
    ClientConfigKey, ClientOptions, Error, GetOptions, GetRange, ObjectMeta, ObjectStore,
    ObjectStoreExt, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey},
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    },
    path::Path,
};
use reqwest::{Client, StatusCode};

use super::{
    cache::escape,
    digest,
    error::{Failure, FetchError, Retry},
    http, limits,
    remote::{Body, Digest, RemoteFile, Source},
    selection,
};

const REMEDY: &str = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the pod's role), \
                      AWS_REGION and AWS_ENDPOINT_URL; a public bucket is read with \
                      AWS_SKIP_SIGNATURE=true";
/// Digits of a fingerprint.
const FINGERPRINT_DIGITS: usize = 40;

/// A prefix of a bucket.
pub(super) struct Bucket {
    store: AmazonS3,
    what: String,
    prefix: Path,
    /// The service, as a folder's name.
    pub(super) service: String,
}

impl Bucket {
    pub(super) fn new(bucket: &str, prefix: &str, plain_http: bool) -> Result<Self, FetchError> {
        let what = format!("s3://{bucket}/{prefix}");
        let unusable = |error: Error| FetchError::Setting {
            name: "AWS_*",
            reason: http::causes(&error),
        };
        let mut builder = AmazonS3Builder::from_env();
        if plain_http {
            builder = builder.with_allow_http(true);
        }
        let on = |key| builder.get_config_value(&key).as_deref() == Some("true");
        let connector = Connector {
            plain_http: on(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp)),
            metadata: builder.get_config_value(&AmazonS3ConfigKey::MetadataEndpoint),
            metadata_v1: on(AmazonS3ConfigKey::ImdsV1Fallback),
        };
        let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint]
            .iter()
            .find_map(|key| builder.get_config_value(key))
            .filter(|endpoint| !endpoint.is_empty());
        let own = endpoint
            .as_ref()
            .and_then(|url| reqwest::Url::parse(url).ok());
        if own.is_some_and(|url| url.host_str().is_some_and(http::is_loopback)) {
            builder = builder.with_allow_http(true);
        }
        let store = builder
            .with_bucket_name(bucket)
            .with_http_connector(connector)
            .with_retry(RetryConfig {
                max_retries: 2,
                retry_timeout: Duration::from_secs(60),
                ..RetryConfig::default()
            })
            .build()
            .map_err(unusable)?;
        Ok(Self {
            store,
            prefix: Path::parse(prefix).map_err(|error| unusable(error.into()))?,
            what,
            service: endpoint.map_or_else(|| "aws".to_owned(), |endpoint| escape(&endpoint)),
        })
    }

    async fn objects(&self) -> Result<Vec<ObjectMeta>, Failure> {
        if self.prefix.extension() == Some("gguf") {
            let found = self.store.head(&self.prefix).await;
            return found
                .map(|object| vec![object])
                .map_err(|error| self.failure(error));
        }
        // A slash as the delimiter: of the folders below only those of modules are listed.
        let prefix = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let listed = self.store.list_with_delimiter(prefix).await;
        let listed = listed.map_err(|error| self.failure(error))?;
        let mut objects = listed.objects;
        let is_module = |folder: &&Path| folder.filename().is_some_and(selection::is_module_folder);
        let modules = listed.common_prefixes.iter().filter(is_module);
        for folder in modules.take(limits::MODULES_MAX) {
            let listed = self.store.list_with_delimiter(Some(folder)).await;
            objects.extend(listed.map_err(|error| self.failure(error))?.objects);
        }
        if objects.is_empty() {
            return Err(FetchError::NotFound {
                what: self.what.clone(),
                reason: "there are no objects below this prefix".to_owned(),
            }
            .into());
        }
        Ok(objects)
    }

    fn failure(&self, error: Error) -> Failure {
        let what = self.what.clone();
        let reason: String = http::causes(&error)
            .chars()
            .take(limits::EXPLANATION_CHARS_MAX)
            .collect();
        if let Some(refused) = cause(&error) {
            return self.refusal(refused);
        }
        if cause::<NoCredentials>(&error).is_some() {
            return Failure {
                error: FetchError::Denied {
                    what,
                    reason: format!("there are no credentials: {reason}"),
                    remedy: REMEDY.to_owned(),
                },
                retry: Retry::NotSoon,
            };
        }
        match error {
            Error::NotFound { .. } => FetchError::NotFound { what, reason }.into(),
            Error::Precondition { .. } => FetchError::Answer {
                what,
                reason: "an object changed while it was downloaded; start again".to_owned(),
            }
            .into(),
            Error::Generic { .. } => Failure::passing(FetchError::Transport { what, reason }),
            _ => FetchError::Status { what, reason }.into(),
        }
    }
}

impl Bucket {
    fn refusal(&self, Refused { status, said }: &Refused) -> Failure {
        let what = self.what.clone();
        let reason = format!("{status}{said}");
        match *status {
            // A wrong region is a bad request.
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                FetchError::Denied {
                    what,
                    reason,
                    remedy: REMEDY.to_owned(),
                }
            }
            StatusCode::NOT_FOUND => FetchError::NotFound { what, reason },
            _ => FetchError::Status { what, reason },
        }
        .into()
    }
}

impl Source for Bucket {
    fn pinned(&self) -> Option<String> {
        None
    }

    /// A bucket has no commits: a listing is known by its names, sizes and entity tags.
    async fn resolve(&self) -> Result<String, Failure> {
        Ok(fingerprint(&self.prefix, &self.objects().await?))
    }

    async fn list(&self, version: &str) -> Result<Vec<RemoteFile>, Failure> {
        let objects = self.objects().await?;
        if fingerprint(&self.prefix, &objects) != version {
            return Err(FetchError::Answer {
                what: self.what.clone(),
                reason: "the objects changed while they were listed; start again".to_owned(),
            }
            .into());
        }
        let file = |object| remote_file(&self.prefix, object);
        Ok(objects.into_iter().filter_map(file).collect())
    }

    async fn open(&self, _: &str, file: &RemoteFile, offset: u64) -> Result<Body, Failure> {
        let what = format!("{}: {}", self.what, file.name);
        let options = GetOptions {
            if_match: file.tag.clone(),
            range: (offset > 0).then_some(GetRange::Offset(offset)),
            ..GetOptions::default()
        };
        let key = Path::parse(&file.key).map_err(|error| http::answer(&what, error))?;
        let got = self.store.get_opts(&key, options).await;
        let got = got.map_err(|error| self.failure(error))?;
        Ok(Body {
            start: got.range.start,
            digest_is_other: got.extensions.get::<EncryptedByKey>().is_some(),
            chunks: got
                .into_stream()
                .map(move |chunk| {
                    chunk.map_err(|error| {
                        Failure::passing(FetchError::Transport {
                            what: what.clone(),
                            reason: http::causes(&error),
                        })
                    })
                })
                .boxed(),
        })
    }
}

/// An object's name below the prefix; its last part where it is the prefix itself.
fn name(prefix: &Path, location: &Path) -> Option<String> {
    let parts = location.prefix_match(prefix)?;
    let parts: Vec<_> = parts.map(|part| part.as_ref().to_owned()).collect();
    if parts.is_empty() {
        location.filename().map(str::to_owned)
    } else {
        Some(parts.join("/"))
    }
}

fn remote_file(prefix: &Path, object: ObjectMeta) -> Option<RemoteFile> {
    let tag = object.e_tag.clone();
    // The entity tag of an object that was uploaded in one piece is its MD5; one of several pieces has
    // a dash and a count behind it.
    let bare = tag.as_deref().unwrap_or_default().trim_matches('"');
    Some(RemoteFile {
        name: name(prefix, &object.location)?,
        size: object.size,
        digest: Digest::checked(bare, 32, Digest::Md5).unwrap_or(Digest::None),
        key: object.location.as_ref().to_owned(),
        tag,
    })
}

/// What of a listing an engine might read, as one word.
fn fingerprint(prefix: &Path, objects: &[ObjectMeta]) -> String {
    let candidate = |object: &&ObjectMeta| {
        let name = name(prefix, &object.location);
        name.is_some_and(|name| selection::is_candidate(&name))
    };
    let mut lines: Vec<String> = objects
        .iter()
        .filter(candidate)
        .map(|object| {
            let modified = || object.last_modified.to_rfc3339();
            let tag = object.e_tag.clone().unwrap_or_else(modified);
            format!("{}\0{}\0{tag}\n", object.location, object.size)
        })
        .collect();
    lines.sort_unstable();
    digest::sha256_of(&lines.concat())[..FINGERPRINT_DIGITS].to_owned()
}

/// Gives `object_store` the client that all downloads use, with its certificates.
#[derive(Debug, Clone)]
struct Connector {
    /// Other machines may be asked over plain http.
    plain_http: bool,
    /// The URL of the machine's metadata service, where it is not at its usual address.
    metadata: Option<String>,
    /// The metadata service may refuse its second version; `object_store` then asks the first.
    metadata_v1: bool,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allow_http = options.get_config_value(&ClientConfigKey::AllowHttp);
        let https_only = allow_http.as_deref() != Some("true");
        // Short for a metadata service, which is next door or not there at all.
        let connect_timeout = options
            .get_config_value(&ClientConfigKey::ConnectTimeout)
            .and_then(|text| seconds(&text))
            .unwrap_or(limits::CONNECT_TIMEOUT);
        let client = http::client(limits::IDLE_TIMEOUT, self.plain_http)
            .map(|builder| builder.connect_timeout(connect_timeout))
            .and_then(|builder| http::build(builder.https_only(https_only)))
            .map_err(|error| Error::Generic {
                store: "S3",
                source: Box::new(error),
            })?;
        Ok(HttpClient::new(Service {
            client: Arc::new(client),
            connector: self.clone(),
        }))
    }
}

impl Connector {
    /// Whether a request is for credentials, to the metadata service or to the agent of a container.
    fn is_for_credentials(&self, uri: &::http::Uri) -> bool {
        let host = uri.host().unwrap_or_default();
        let own = self.metadata.as_ref().filter(|own| !own.is_empty());
        let own = own.is_some_and(|own| uri.to_string().starts_with(own.as_str()));
        own || host.starts_with("169.254.") || host.contains("ec2::")
    }

    /// Marks every failure of a service of credentials. `object_store` tries again what may pass.
    fn credentials(
        &self,
        sent: Result<HttpResponse, HttpError>,
    ) -> Result<HttpResponse, HttpError> {
        let (kind, reason) = match sent {
            Err(error) => (error.kind(), http::causes(&error)),
            Ok(answer) => {
                let status = answer.status();
                if status.is_success() || (self.metadata_v1 && status == StatusCode::FORBIDDEN) {
                    return Ok(answer);
                }
                let kind = match http::retry_of(status.as_u16(), None) {
                    Retry::Never => HttpErrorKind::Unknown,
                    _ => HttpErrorKind::Request,
                };
                (kind, status.to_string())
            }
        };
        Err(HttpError::new(kind, NoCredentials(reason)))
    }
}

/// A duration in whole seconds, as `object_store` prints it.
fn seconds(text: &str) -> Option<Duration> {
    text.strip_suffix('s')?
        .parse()
        .ok()
        .map(Duration::from_secs)
}

/// No keys are set, and the machine has no role that could be found.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoCredentials(String);

/// The object is encrypted with a key of a key service or of the client, so that its entity tag is not
/// an MD5 of the content.
#[derive(Clone, Copy)]
struct EncryptedByKey;

/// The service refuses a request, and will again. `object_store` does not keep the status of every
/// request that fails, so that it is caught before.
#[derive(Debug, thiserror::Error)]
#[error("{status}{said}")]
struct Refused {
    status: StatusCode,
    /// Code and message, behind a colon; or nothing.
    said: String,
}

/// The error of a kind behind an error.
fn cause<'a, E: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a E> {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.find_map(|cause| cause.downcast_ref())
}

async fn refusal_of(response: HttpResponse) -> Refused {
    let status = response.status();
    let body = Limited::new(response.into_body(), limits::EXPLANATION_BYTES_MAX);
    let body = body.collect().await.map(Collected::to_bytes);
    let body = String::from_utf8_lossy(body.as_deref().unwrap_or_default()).into_owned();
    let element = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>"))?;
        Some(rest.split_once("</")?.0)
    };
    let said = ["Code", "Message"].into_iter().filter_map(element);
    let said: String = said.map(|text| format!(": {text}")).collect();
    Refused {
        status,
        said: said.chars().take(limits::EXPLANATION_CHARS_MAX).collect(),
    }
}

/// Whether an answer is a refusal that will stay.
fn is_refusal(status: StatusCode) -> bool {
    status.is_client_error() && !matches!(status.as_u16(), 408 | 412 | 425 | 429)
}

struct Service {
    client: Arc<Client>,
    connector: Connector,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

impl HttpService for Service {
    fn call<'life0, 'async_trait>(
        &'life0 self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let for_credentials = self.connector.is_for_credentials(request.uri());
            let sent = HttpService::call(self.client.as_ref(), request).await;
            if for_credentials {
                return self.connector.credentials(sent);
            }
            let mut response = sent?;
            if is_refusal(response.status()) {
                let refused = refusal_of(response).await;
                return Err(HttpError::new(HttpErrorKind::Unknown, refused));
            }
            let headers = response.headers();
            let by_service = headers
                .get("x-amz-server-side-encryption")
                .is_some_and(|kind| kind.as_bytes().starts_with(b"aws:"));
            let by_client = headers.contains_key("x-amz-server-side-encryption-customer-algorithm");
            if by_service || by_client {
                response.extensions_mut().insert(EncryptedByKey);
            }
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(key: &str, e_tag: Option<&str>) -> ObjectMeta {
        ObjectMeta {
            location: Path::parse(key).unwrap(),
            last_modified: "2026-01-02T03:04:05Z".parse().unwrap(),
            size: 3,
            e_tag: e_tag.map(str::to_owned),
            version: None,
        }
    }

    fn object(key: &str, e_tag: Option<&str>) -> RemoteFile {
        remote_file(&Path::from("m"), meta(key, e_tag)).unwrap()
    }

    #[test]
    fn an_entity_tag_is_a_checksum_only_of_objects_in_one_piece() {
        let md5 = "0f".repeat(16);
        let whole = object("m/config.json", Some(&format!("\"{md5}\"")));
        assert_eq!(
            (whole.name.as_str(), &whole.digest),
            ("config.json", &Digest::Md5(md5.clone()))
        );
        let pieces = object("m/1_Pooling/config.json", Some(&format!("\"{md5}-2\"")));
        assert_eq!(pieces.digest, Digest::None);
        assert_eq!(pieces.name, "1_Pooling/config.json");
        assert_eq!(object("m/config.json", None).digest, Digest::None);
        let itself = remote_file(&Path::from("m/x.gguf"), meta("m/x.gguf", None));
        assert_eq!(itself.unwrap().name, "x.gguf");
    }

    #[test]
    fn requests_for_credentials_are_known() {
        let connector = Connector {
            plain_http: false,
            metadata: Some("http://127.0.0.1:9".to_owned()),
            metadata_v1: false,
        };
        for (uri, wanted) in [
            ("http://169.254.169.254/latest/api/token", true),
            ("http://169.254.170.23/v1/credentials", true),
            ("http://[fd00:ec2::23]/v1/credentials", true),
            ("http://127.0.0.1:9/latest/api/token", true),
            ("http://127.0.0.1:1/bucket", false),
            ("https://s3.eu-central-1.amazonaws.com/bucket", false),
        ] {
            let uri = uri.parse().unwrap();
            assert_eq!(connector.is_for_credentials(&uri), wanted, "{uri}");
        }
        let options = ClientOptions::new().with_connect_timeout(Duration::from_secs(1));
        let printed = options.get_config_value(&ClientConfigKey::ConnectTimeout);
        assert_eq!(seconds(&printed.unwrap()), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_fingerprint_changes_with_what_an_engine_reads_only() {
        let print = |tag: &str, other: &str| {
            let objects = [
                meta("m/config.json", Some(tag)),
                meta("m/README.md", Some(other)),
            ];
            fingerprint(&Path::from("m"), &objects)
        };
        assert_eq!(print("a", "x"), print("a", "y"));
        assert_ne!(print("a", "x"), print("b", "x"));
        assert_eq!(print("a", "x").len(), FINGERPRINT_DIGITS);
    }
}
