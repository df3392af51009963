//! The bed's certificates and kubeconfigs: one authority, made anew for every run and thrown away with it.

use std::fs;
use std::path::Path;

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::json;

use super::control_plane::Addresses;
use super::node::Node;

/// The API server's address as pods see it: the first one of the Service range.
const SERVICE_ADDRESS: &str = "10.96.0.1";
/// Membership in this group is the right to do everything.
const ADMINISTRATORS: &str = "system:masters";

/// Whom a certificate names, and what for.
struct Subject {
    file: &'static str,
    user: String,
    group: Option<&'static str>,
    names: Vec<String>,
    serves: bool,
    kubeconfig: bool,
}

impl Default for Subject {
    fn default() -> Self {
        Self {
            file: "",
            user: String::new(),
            group: None,
            names: Vec::new(),
            serves: false,
            kubeconfig: true,
        }
    }
}

/// Writes the authority, every component's key and certificate, and a kubeconfig for each client into `folder`.
pub(super) fn write(folder: &Path, addresses: Addresses, nodes: &[Node]) -> anyhow::Result<()> {
    let mut authority = CertificateParams::default();
    authority
        .distinguished_name
        .push(DnType::CommonName, "bed-ca");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    let key = KeyPair::generate().context("making the authority's key")?;
    let authority =
        CertifiedIssuer::self_signed(authority, key).context("signing the authority")?;
    put(folder, "ca.crt", &authority.pem())?;
    put(folder, "ca.key", &authority.key().serialize_pem())?;

    let tokens = KeyPair::generate().context("making the service accounts' key")?;
    put(folder, "sa.key", &tokens.serialize_pem())?;
    put(folder, "sa.pub", &tokens.public_key_pem())?;

    for subject in subjects(addresses, nodes) {
        let (certificate, key) = issue(&subject, &authority)
            .with_context(|| format!("issuing the certificate of {}", subject.user))?;
        put(folder, &format!("{}.crt", subject.file), &certificate)?;
        put(folder, &format!("{}.key", subject.file), &key)?;
        if subject.kubeconfig {
            put(
                folder,
                &format!("{}.kubeconfig", subject.file),
                &kubeconfig(folder, subject.file, addresses),
            )?;
        }
    }
    Ok(())
}

fn subjects(addresses: Addresses, nodes: &[Node]) -> Vec<Subject> {
    let address = addresses.api_server.ip().to_string();
    let none = Subject::default;
    let client = |file, user: &str, group| Subject {
        file,
        user: user.to_owned(),
        group,
        ..none()
    };
    let mut subjects = vec![
        Subject {
            names: [
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local",
                "localhost",
                "127.0.0.1",
                &address,
                SERVICE_ADDRESS,
            ]
            .map(str::to_owned)
            .to_vec(),
            serves: true,
            kubeconfig: false,
            ..client("apiserver", "kube-apiserver", None)
        },
        Subject {
            kubeconfig: false,
            ..client(
                "apiserver-kubelet",
                "apiserver-kubelet",
                Some(ADMINISTRATORS),
            )
        },
        client("admin", "admin", Some(ADMINISTRATORS)),
        client("controller-manager", "system:kube-controller-manager", None),
        client("scheduler", "system:kube-scheduler", None),
        client("proxy", "system:kube-proxy", None),
    ];
    subjects.extend(nodes.iter().map(|node| Subject {
        names: vec![node.name.to_owned(), node.address.to_string()],
        serves: true,
        ..client(
            node.name,
            &format!("system:node:{}", node.name),
            Some("system:nodes"),
        )
    }));
    subjects
}

fn issue(
    subject: &Subject,
    authority: &CertifiedIssuer<'_, KeyPair>,
) -> anyhow::Result<(String, String)> {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, subject.user.as_str());
    if let Some(group) = subject.group {
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
    }
    for name in &subject.names {
        params.subject_alt_names.push(match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.as_str().try_into()?),
        });
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if subject.serves {
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// A kubeconfig (JSON is YAML) that names files rather than holding keys, so that it can be read aloud.
fn kubeconfig(folder: &Path, file: &str, addresses: Addresses) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bed", "cluster": {
            "server": format!("https://{}", addresses.api_server), "certificate-authority": folder.join("ca.crt"),
        }}],
        "users": [{"name": "user", "user": {
            "client-certificate": folder.join(format!("{file}.crt")),
            "client-key": folder.join(format!("{file}.key")),
        }}],
        "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": "user"}}],
        "current-context": "bed",
    })
    .to_string()
}

fn put(folder: &Path, name: &str, content: &str) -> anyhow::Result<()> {
    fs::write(folder.join(name), content).with_context(|| format!("writing {name}"))
}
