//! Connections: trusted certificates, redirects, timeouts, and what an HTTP status means for a download.

use std::{sync::Once, time::Duration};

use futures::StreamExt;
use reqwest::{
    Certificate, Client, ClientBuilder, Response, StatusCode, Url,
    header::{HeaderMap, RETRY_AFTER},
    redirect::{Attempt, Policy},
};
use rustls::{RootCertStore, pki_types::CertificateDer};

use super::{
    error::{Failure, FetchError, Retry},
    limits,
};

/// How we introduce ourselves.
pub(super) const USER_AGENT: &str = concat!("candela-engine/", env!("CARGO_PKG_VERSION"));

/// A client with the timeouts, redirects and certificates of all downloads.
pub(super) fn client(
    idle_timeout: Duration,
    plain_http: bool,
) -> Result<ClientBuilder, FetchError> {
    let roots = trusted_roots()
        .iter()
        .map(|der| Certificate::from_der(der))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| FetchError::Client(error.to_string()))?;
    Ok(Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(limits::CONNECT_TIMEOUT)
        .read_timeout(idle_timeout)
        .redirect(Policy::custom(move |attempt| redirect(attempt, plain_http)))
        .tls_certs_only(roots))
}

pub(super) fn build(builder: ClientBuilder) -> Result<Client, FetchError> {
    builder
        .build()
        .map_err(|error| FetchError::Client(describe(error)))
}

/// Authorities that are trusted: those of the system (or of `SSL_CERT_FILE` and `SSL_CERT_DIR`), and
/// Mozilla's, so that an image without any still reaches the public hubs.
pub(super) fn trusted_roots() -> Vec<CertificateDer<'static>> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // An error says that somebody else chose a provider before; that one serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!("certificate authorities: {error}");
    }
    let usable = |der: &CertificateDer<'static>| RootCertStore::empty().add(der.clone()).is_ok();
    let mut roots: Vec<_> = native.certs.into_iter().filter(usable).collect();
    roots.extend_from_slice(webpki_root_certs::TLS_SERVER_ROOT_CERTS);
    roots
}

/// The client itself drops the token when host or port change.
fn redirect(attempt: Attempt<'_>, plain_http: bool) -> reqwest::redirect::Action {
    match check_redirect(attempt.previous(), attempt.url(), plain_http) {
        Ok(()) => attempt.follow(),
        Err(reason) => attempt.error(reason),
    }
}

/// A few are fine; never from an encrypted connection to one that is not, nor to a plain one that could
/// not have been asked for itself.
fn check_redirect(previous: &[Url], next: &Url, plain_http: bool) -> Result<(), &'static str> {
    let encrypted = previous.last().is_some_and(|url| url.scheme() == "https");
    if encrypted && next.scheme() != "https" {
        return Err("redirected from https to plain http");
    }
    if check_plain(next, plain_http).is_err() {
        return Err(
            "redirected to plain http on another machine; to allow that, give \
                    --download-plain-http",
        );
    }
    if previous.len() > limits::REDIRECTS_MAX {
        return Err("redirected too often");
    }
    Ok(())
}

/// Plain http is for this machine, unless asked for.
pub(super) fn check_plain(url: &Url, plain_http: bool) -> Result<(), FetchError> {
    let own = url.host_str().is_some_and(is_loopback);
    if url.scheme() == "https" || own || plain_http {
        return Ok(());
    }
    Err(FetchError::PlainHttp {
        url: without_query(url),
    })
}

/// A host name or address of this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<std::net::IpAddr>();
    bare == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn without_query(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    // A URL that cannot have a password has none to show.
    let _ = url.set_password(None);
    url.to_string()
}

/// An error of the client without the URL, whose query may be a signature; with its causes, which say
/// what happened.
pub(super) fn describe(error: reqwest::Error) -> String {
    let timed_out = error.is_timeout();
    let text = causes(&error.without_url());
    if timed_out {
        format!("{text} (timed out)")
    } else {
        text
    }
}

/// An error and its causes in one line.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// A request that got no answer, or only a part of it.
pub(super) fn transport(what: &str, error: reqwest::Error) -> Failure {
    let untrusted = is_untrusted(&error);
    let never = error.is_builder() || error.is_redirect() || untrusted;
    let mut reason = describe(error);
    if untrusted {
        reason += "; if its authority is your own, give it by SSL_CERT_FILE";
    }
    Failure {
        error: FetchError::Transport {
            what: what.to_owned(),
            reason,
        },
        retry: if never { Retry::Never } else { Retry::Later },
    }
}

/// Whether the other side showed a certificate that we do not take: it will again.
fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    let of_tls = |error: &(dyn std::error::Error + 'static)| {
        matches!(
            error.downcast_ref(),
            Some(rustls::Error::InvalidCertificate(_))
        )
    };
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        // An I/O error hides what it was made of from `source`.
        let made_of = cause.downcast_ref::<std::io::Error>();
        let made_of = made_of.and_then(std::io::Error::get_ref);
        of_tls(cause) || made_of.is_some_and(|inner| is_untrusted(inner))
    })
}

/// Whether the same request may be answered otherwise later.
pub(super) fn retry_of(status: u16, headers: Option<&HeaderMap>) -> Retry {
    if !matches!(status, 408 | 425 | 429 | 500..=599) {
        return Retry::Never;
    }
    let asked = headers
        .and_then(|headers| headers.get(RETRY_AFTER))
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    asked.map_or(Retry::Later, |seconds| {
        Retry::After(Duration::from_secs(seconds))
    })
}

/// An answer that is an error, other than 401, 403 and 404, which mean something of their own to each
/// source.
pub(super) fn status(what: &str, status: StatusCode, headers: &HeaderMap) -> Failure {
    Failure {
        error: FetchError::Status {
            what: what.to_owned(),
            reason: status.to_string(),
        },
        retry: retry_of(status.as_u16(), Some(headers)),
    }
}

/// The body of an answer, if it is not too long.
pub(super) async fn bounded_body(
    what: &str,
    response: Response,
    bytes_max: usize,
) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| transport(what, error))?;
        if body.len() + chunk.len() > bytes_max {
            return Err(answer(what, format!("longer than {bytes_max} bytes")).into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

pub(super) fn answer(what: &str, reason: impl ToString) -> FetchError {
    FetchError::Answer {
        what: what.to_owned(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_unless_asked_for() {
        for (url, fine) in [
            ("https://hub.example", true),
            ("http://127.0.0.1:5000/a", true),
            ("http://[::1]:5000/a", true),
            ("http://localhost/a", true),
            ("http://10.0.0.1/a", false),
            ("http://localhost.example/a", false),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(check_plain(&url, false).is_ok(), fine, "{url}");
            assert!(check_plain(&url, true).is_ok());
        }
    }

    #[test]
    fn a_redirect_does_not_lead_to_what_could_not_be_asked_for() {
        let url = |text: &str| Url::parse(text).unwrap();
        for (from, to, plain_http, fine) in [
            ("http://127.0.0.1/a", "http://10.0.0.1/", false, false),
            ("http://127.0.0.1/a", "http://10.0.0.1/", true, true),
            ("http://127.0.0.1/a", "http://127.0.0.1:1/", false, true),
            ("http://127.0.0.1/a", "https://cdn.example/", false, true),
            ("https://hub.example/a", "http://127.0.0.1/", true, false),
        ] {
            let followed = check_redirect(&[url(from)], &url(to), plain_http);
            assert_eq!(followed.is_ok(), fine, "{from} to {to}");
        }
        let many = vec![url("https://hub.example"); limits::REDIRECTS_MAX + 1];
        assert!(check_redirect(&many, &many[0], false).is_err());
    }

    #[test]
    fn a_certificate_that_is_not_trusted_is_seen_however_deep_it_is() {
        let invalid = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert!(is_untrusted(&invalid));
        let nested = std::io::Error::other(std::io::Error::other(invalid));
        assert!(is_untrusted(&nested));
        assert!(!is_untrusted(&std::io::Error::other("reset")));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for status in [400, 401, 403, 404, 410, 416] {
            assert_eq!(retry_of(status, None), Retry::Never);
        }
        for status in [408, 429, 500, 503] {
            assert_eq!(retry_of(status, None), Retry::Later);
        }
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "7".parse().unwrap())]);
        let wanted = Retry::After(Duration::from_secs(7));
        assert_eq!(retry_of(429, Some(&headers)), wanted);
    }

    #[test]
    fn public_authorities_are_trusted_without_a_system_store() {
        assert!(trusted_roots().len() >= webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
    }
}
