//! The control plane: etcd, the API server and the controller manager. Alone it is the tier of machines that cannot run pods:
//! objects are admitted, defaulted, owned and collected there as anywhere, only nothing ever starts.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context;

use super::parts::{Parts, report};
use super::{READY, configuration, pki};

pub(super) const SERVICE_RANGE: &str = "10.96.0.0/16";
/// What the operator asked of the API server, one event a line.
pub(super) const AUDIT_LOG: &str = "audit.log";

/// Where the control plane listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    pub(super) api_server: SocketAddr,
    pub(super) etcd_client_port: u16,
    pub(super) etcd_peer_port: u16,
    pub(super) controller_manager_port: u16,
}

impl Addresses {
    /// The usual ports: for a network of one's own.
    pub(super) fn usual(address: Ipv4Addr) -> Self {
        Self {
            api_server: (address, 6443).into(),
            etcd_client_port: 2379,
            etcd_peer_port: 2380,
            controller_manager_port: 10257,
        }
    }

    /// Ports of the loopback interface that nobody listened on a moment ago.
    fn unused() -> anyhow::Result<Self> {
        // All four are held before any is let go, so that they differ.
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a port");
        let held = [listen()?, listen()?, listen()?, listen()?];
        let mut ports = [0; 4];
        for (port, listener) in ports.iter_mut().zip(&held) {
            *port = listener.local_addr().context("reading a port")?.port();
        }
        let [
            api_server,
            etcd_client_port,
            etcd_peer_port,
            controller_manager_port,
        ] = ports;
        Ok(Self {
            api_server: (Ipv4Addr::LOCALHOST, api_server).into(),
            etcd_client_port,
            etcd_peer_port,
            controller_manager_port,
        })
    }
}

/// Runs a control plane on loopback, without any namespace, until standard input closes.
///
/// # Errors
/// When a part does not come up.
pub fn control_plane(run_folder: &Path, programs: &Path) -> anyhow::Result<()> {
    let addresses = Addresses::unused()?;
    pki::write(&run_folder.join("pki"), addresses, &[]).context("making the certificates")?;
    configuration::write(run_folder, addresses, &[])?;
    let mut parts = Parts::new(run_folder, programs);
    start(&mut parts, addresses)?;
    wait(&mut parts, addresses)?;
    report(READY)?;
    parts.obey();
    Ok(())
}

/// Starts all three, and returns when the API server serves.
pub(super) fn start(parts: &mut Parts, addresses: Addresses) -> anyhow::Result<()> {
    parts.start("etcd", &[parts.path("conf/etcd.yaml")])?;
    let health = format!("http://127.0.0.1:{}/health", addresses.etcd_client_port);
    parts.wait_url("etcd", &health)?;
    parts.start("kube-apiserver", &apiserver_arguments(parts, addresses))?;
    parts.wait_ready("kube-apiserver", &["kubectl", "get", "--raw", "/readyz"])?;
    let arguments = controller_manager_arguments(parts, addresses);
    parts.start("kube-controller-manager", &arguments)
}

/// Waits until the controllers work.
pub(super) fn wait(parts: &mut Parts, addresses: Addresses) -> anyhow::Result<()> {
    let health = format!(
        "https://127.0.0.1:{}/healthz",
        addresses.controller_manager_port
    );
    parts.wait_url("kube-controller-manager", &health)?;
    let account = ["kubectl", "get", "serviceaccount", "default"];
    parts.wait_ready("default service account", &account)
}

fn apiserver_arguments(parts: &Parts, addresses: Addresses) -> Vec<String> {
    let file = |name: &str| parts.path(&format!("pki/{name}"));
    let address = addresses.api_server.ip();
    // The Service `kubernetes` may not lead to a loopback address; nothing could use it there anyway.
    let reconciler = if address.is_loopback() {
        "none"
    } else {
        "lease"
    };
    [
        (
            "etcd-servers",
            format!("http://127.0.0.1:{}", addresses.etcd_client_port),
        ),
        ("bind-address", address.to_string()),
        ("advertise-address", address.to_string()),
        ("secure-port", addresses.api_server.port().to_string()),
        ("endpoint-reconciler-type", reconciler.to_owned()),
        ("tls-cert-file", file("apiserver.crt")),
        ("tls-private-key-file", file("apiserver.key")),
        ("client-ca-file", file("ca.crt")),
        ("kubelet-client-certificate", file("apiserver-kubelet.crt")),
        ("kubelet-client-key", file("apiserver-kubelet.key")),
        ("kubelet-certificate-authority", file("ca.crt")),
        ("kubelet-preferred-address-types", "InternalIP".to_owned()),
        (
            "service-account-issuer",
            "https://kubernetes.default.svc".to_owned(),
        ),
        ("service-account-key-file", file("sa.pub")),
        ("service-account-signing-key-file", file("sa.key")),
        ("service-cluster-ip-range", SERVICE_RANGE.to_owned()),
        ("authorization-mode", "Node,RBAC".to_owned()),
        ("enable-admission-plugins", "NodeRestriction".to_owned()),
        ("profiling", "false".to_owned()),
        ("audit-policy-file", parts.path("conf/audit.yaml")),
        ("audit-log-path", parts.path(AUDIT_LOG)),
    ]
    .map(|(flag, value)| format!("--{flag}={value}"))
    .to_vec()
}

fn controller_manager_arguments(parts: &Parts, addresses: Addresses) -> Vec<String> {
    let file = |name: &str| parts.path(&format!("pki/{name}"));
    let mut arguments = client_arguments(parts, "controller-manager");
    arguments.extend([
        format!("--secure-port={}", addresses.controller_manager_port),
        "--use-service-account-credentials".to_owned(),
        format!("--service-account-private-key-file={}", file("sa.key")),
        format!("--root-ca-file={}", file("ca.crt")),
        format!("--cluster-signing-cert-file={}", file("ca.crt")),
        format!("--cluster-signing-key-file={}", file("ca.key")),
        // The default throttles the start of so many controllers for five seconds.
        "--kube-api-qps=500".to_owned(),
        "--kube-api-burst=1000".to_owned(),
        // An API server that comes back after a minute must not find nodes that are given up: what is tested is ours.
        "--node-monitor-grace-period=1h".to_owned(),
    ]);
    arguments
}

/// What the controller manager and the scheduler have in common.
pub(super) fn client_arguments(parts: &Parts, name: &str) -> Vec<String> {
    let kubeconfig = parts.path(&format!("pki/{name}.kubeconfig"));
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--leader-elect=false".to_owned(),
        "--profiling=false".to_owned(),
    ]
}
