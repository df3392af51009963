//! An artifact of files in a container registry: each layer is a file, its name the annotation
//! `org.opencontainers.image.title`, as `oras push` writes it. The protocol is `oci-client`'s.

use std::path::PathBuf;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use futures::StreamExt;
use oci_client::{
    Client, Reference,
    annotations::ORG_OPENCONTAINERS_IMAGE_TITLE,
    client::{BlobResponse, Certificate, CertificateEncoding, ClientConfig, ClientProtocol},
    errors::{OciDistributionError, OciErrorCode},
    manifest::OciDescriptor,
    secrets::RegistryAuth,
};

use super::{
    error::{Failure, FetchError, Retry},
    http, limits,
    remote::{Body, Digest, RemoteFile, Source},
    uri::OciVersion,
};

/// What `oras push` says of a folder that it packed.
const UNPACK: &str = "io.deis.oras.content.unpack";
const REMEDY: &str = "log in with `docker login` or `oras login`, or point DOCKER_CONFIG at a folder \
                      whose config.json has credentials for this registry";

/// An artifact in a registry.
pub(super) struct Artifact {
    client: Client,
    auth: RegistryAuth,
    reference: Reference,
}

impl Artifact {
    pub(super) fn new(
        registry: &str,
        repository: &str,
        version: &OciVersion,
        plain_http: bool,
    ) -> Result<Self, FetchError> {
        let host = registry.split(':').next().unwrap_or(registry);
        let (registry, repository) = (registry.to_owned(), repository.to_owned());
        let plain = plain_http || http::is_loopback(host);
        let protocol = if plain {
            ClientProtocol::HttpsExcept(vec![registry.clone()])
        } else {
            ClientProtocol::Https
        };
        let auth = credentials(&registry)?;
        let reference = match version {
            OciVersion::Tag(tag) => Reference::with_tag(registry, repository, tag.clone()),
            OciVersion::Digest(digest) => {
                Reference::with_digest(registry, repository, digest.clone())
            }
        };
        let roots = http::trusted_roots().into_iter().map(|der| Certificate {
            encoding: CertificateEncoding::Der,
            data: der.to_vec(),
        });
        let config = ClientConfig {
            protocol,
            tls_certs_only: roots.collect(),
            read_timeout: Some(limits::IDLE_TIMEOUT),
            connect_timeout: Some(limits::CONNECT_TIMEOUT),
            user_agent: http::USER_AGENT,
            ..ClientConfig::default()
        };
        let client =
            Client::try_from(config).map_err(|error| FetchError::Client(http::causes(&error)))?;
        Ok(Self {
            client,
            auth,
            reference,
        })
    }

    fn what(&self) -> String {
        format!("oci://{}", self.reference.whole())
    }

    /// The same artifact by its content.
    fn at(&self, version: &str) -> Reference {
        self.reference
            .clone_with_digest(version.replacen('-', ":", 1))
    }
}

impl Source for Artifact {
    fn pinned(&self) -> Option<String> {
        self.reference.digest().map(folder_name)
    }

    async fn resolve(&self) -> Result<String, Failure> {
        let pulled = self.client.pull_image_manifest(&self.reference, &self.auth);
        let (_, digest) = pulled.await.map_err(|e| failure(&self.what(), e))?;
        Ok(folder_name(&digest))
    }

    async fn list(&self, version: &str) -> Result<Vec<RemoteFile>, Failure> {
        let what = self.what();
        let reference = self.at(version);
        let pulled = self.client.pull_image_manifest(&reference, &self.auth);
        let (manifest, _) = pulled.await.map_err(|error| failure(&what, error))?;
        let mut files = Vec::new();
        for layer in &manifest.layers {
            files.extend(remote_file(&what, layer)?);
        }
        if files.is_empty() {
            return Err(FetchError::NoModel {
                what,
                reason: format!(
                    "no layer has a file name ({ORG_OPENCONTAINERS_IMAGE_TITLE}): it is a \
                     container image, not an artifact of files; push one with `oras push`"
                ),
            }
            .into());
        }
        Ok(files)
    }

    async fn open(&self, version: &str, file: &RemoteFile, offset: u64) -> Result<Body, Failure> {
        let what = format!("{}: {}", self.what(), file.name);
        let reference = self.at(version);
        let digest = file.key.as_str();
        let (start, stream) = if offset == 0 {
            let pulled = self.client.pull_blob_stream(&reference, digest).await;
            (0, pulled.map_err(|error| failure(&what, error))?)
        } else {
            let pulled = self
                .client
                .pull_blob_stream_partial(&reference, digest, offset, None);
            match pulled.await.map_err(|error| failure(&what, error))? {
                BlobResponse::Full(stream) => (0, stream),
                BlobResponse::Partial(stream) => (offset, stream),
            }
        };
        Ok(Body {
            start,
            digest_is_other: false,
            chunks: stream
                .stream
                .map(move |chunk| {
                    chunk.map_err(|error| {
                        Failure::passing(FetchError::Transport {
                            what: what.clone(),
                            reason: stream_error(&error),
                        })
                    })
                })
                .boxed(),
        })
    }
}

/// A digest as a folder's name.
fn folder_name(digest: &str) -> String {
    digest.replacen(':', "-", 1)
}

fn remote_file(what: &str, layer: &OciDescriptor) -> Result<Option<RemoteFile>, FetchError> {
    let annotation = |name| layer.annotations.as_ref().and_then(|all| all.get(name));
    let Some(name) = annotation(ORG_OPENCONTAINERS_IMAGE_TITLE) else {
        return Ok(None);
    };
    if annotation(UNPACK).is_some_and(|unpack| unpack == "true") {
        return Err(FetchError::NoModel {
            what: what.to_owned(),
            reason: format!("{name} is a packed folder: push the files in it, not the folder"),
        });
    }
    let hex = layer.digest.strip_prefix("sha256:").unwrap_or_default();
    let digest = Digest::checked(hex, 64, Digest::Sha256)
        .ok_or_else(|| http::answer(what, format!("{name} has no SHA-256 digest")))?;
    Ok(Some(RemoteFile {
        name: name.clone(),
        size: u64::try_from(layer.size)
            .map_err(|_| http::answer(what, format!("{name} has a negative size")))?,
        digest,
        key: layer.digest.clone(),
        tag: None,
    }))
}

/// Those of Docker's configuration for a registry, if it has any.
fn credentials(registry: &str) -> Result<RegistryAuth, FetchError> {
    let unusable = |reason: String| FetchError::Setting {
        name: "DOCKER_CONFIG",
        reason,
    };
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let default = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker"));
    let Some(path) = folder
        .or_else(default)
        .map(|folder| folder.join("config.json"))
    else {
        return Ok(RegistryAuth::Anonymous);
    };
    if !path.exists() {
        return Ok(RegistryAuth::Anonymous);
    }
    match docker_credential::get_credential(registry) {
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            Ok(RegistryAuth::Basic(user, password))
        }
        Ok(DockerCredential::IdentityToken(_)) => Err(unusable(format!(
            "{}: an identity token for {registry} cannot be used; store a user and a password",
            path.display()
        ))),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(RegistryAuth::Anonymous),
        // The error of a helper holds what it printed, which may be a secret.
        Err(CredentialRetrievalError::HelperFailure { helper, .. }) => {
            Err(unusable(format!("the credential helper {helper} failed")))
        }
        Err(error) => Err(unusable(format!("{}: {error}", path.display()))),
    }
}

fn stream_error(error: &std::io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<reqwest::Error>());
    // The text of the client's error has the URL in it, whose query may be a signature.
    match inner {
        Some(inner) => std::error::Error::source(inner)
            .map_or_else(|| "the connection broke".to_owned(), http::causes),
        None => error.to_string(),
    }
}

/// Whether the server that gives tokens refuses who asks, by what it said: the client does not keep its
/// status, which may as well be that of a server with too much to do.
fn is_refusal(said: &str) -> bool {
    let said = said.to_lowercase();
    let words = ["unauthorized", "denied", "forbidden", "incorrect username"];
    words.iter().any(|word| said.contains(word))
}

fn failure(what: &str, error: OciDistributionError) -> Failure {
    use OciDistributionError as E;
    let what = what.to_owned();
    let short =
        |text: String| -> String { text.chars().take(limits::EXPLANATION_CHARS_MAX).collect() };
    let denied = |reason: String| FetchError::Denied {
        what: what.clone(),
        reason: short(reason),
        remedy: REMEDY.to_owned(),
    };
    match error {
        E::RequestError(error) => http::transport(&what, error),
        E::UnauthorizedError { .. } => denied("401 Unauthorized".to_owned()).into(),
        E::AuthenticationFailure(reason) if is_refusal(&reason) => denied(reason).into(),
        E::AuthenticationFailure(reason) => {
            let reason = short(format!("no token: {}", reason.trim()));
            Failure::passing(FetchError::Status {
                reason: format!("{reason}; if that stays so, {REMEDY}"),
                what,
            })
        }
        E::RegistryError { envelope, .. } => {
            let reason = short(envelope.to_string());
            let code = |wanted: &[OciErrorCode]| {
                envelope
                    .errors
                    .iter()
                    .any(|error| wanted.contains(&error.code))
            };
            if code(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
                denied(reason).into()
            } else if code(&[OciErrorCode::Toomanyrequests]) {
                Failure::passing(FetchError::Status { what, reason })
            } else {
                FetchError::NotFound { what, reason }.into()
            }
        }
        E::ServerError {
            code: 403, message, ..
        } => denied(message).into(),
        E::ServerError { code: 404, .. } | E::ImageManifestNotFoundError(_) => {
            FetchError::NotFound {
                what,
                reason: "the registry has no such artifact; check repository and tag".to_owned(),
            }
            .into()
        }
        E::ServerError { code, message, .. } => Failure {
            error: FetchError::Status {
                what,
                reason: short(format!("{code}: {message}")),
            },
            retry: http::retry_of(code, None),
        },
        E::IoError(error) => Failure::passing(FetchError::Transport {
            what,
            reason: stream_error(&error),
        }),
        other => Failure {
            error: FetchError::Answer {
                what,
                reason: short(http::causes(&other)),
            },
            retry: Retry::Never,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: Option<&str>, more: Option<(&str, &str)>) -> OciDescriptor {
        let title = name.map(|name| (ORG_OPENCONTAINERS_IMAGE_TITLE, name));
        let annotations = title.into_iter().chain(more);
        OciDescriptor {
            digest: format!("sha256:{}", "0f".repeat(32)),
            size: 3,
            annotations: Some(
                annotations
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
            ),
            ..OciDescriptor::default()
        }
    }

    #[test]
    fn a_token_that_cannot_be_had_now_may_be_had_later() {
        for (said, retry) in [
            (r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#, Retry::Never),
            (r#"{"errors":[{"code":"DENIED"}]}"#, Retry::Never),
            (
                r#"{"details":"incorrect username or password"}"#,
                Retry::Never,
            ),
            (r#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#, Retry::Later),
            ("<h1>503 Service Unavailable</h1>", Retry::Later),
            ("", Retry::Later),
        ] {
            let error = OciDistributionError::AuthenticationFailure(said.to_owned());
            let failure = failure("m", error);
            assert_eq!(failure.retry, retry, "{said}");
            assert!(failure.error.to_string().contains(REMEDY), "{said}");
        }
    }

    #[test]
    fn a_layer_with_a_title_is_a_file() {
        let file = remote_file("m", &layer(Some("a"), None)).unwrap().unwrap();
        assert_eq!((file.name.as_str(), file.size), ("a", 3));
        assert!(remote_file("m", &layer(None, None)).unwrap().is_none());
        let packed = layer(Some("folder"), Some((UNPACK, "true")));
        let error = remote_file("m", &packed).unwrap_err().to_string();
        assert!(error.contains("folder is a packed folder"), "{error}");
        let mut odd = layer(Some("a"), None);
        odd.digest = "md5:00".into();
        assert!(remote_file("m", &odd).is_err());
        odd = layer(Some("a"), None);
        odd.size = -1;
        assert!(remote_file("m", &odd).is_err());
    }
}
