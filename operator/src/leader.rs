//! Which replica reconciles: the one that holds a Lease. A holder that could not renew in time stops
//! before anyone else may start, and says so by ending the process.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// How long a lease lasts without renewal.
const LEASE: Duration = Duration::from_secs(LEASE_SECONDS as u64);
const LEASE_SECONDS: i32 = 15;
/// A holder that has not renewed for this long stops; shorter than [`LEASE`] by the clock's error.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Pause between attempts to acquire or renew.
const RETRY: Duration = Duration::from_secs(2);

/// Where the lease is and who wants it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// This replica; unique, so the pod's name.
    pub identity: String,
}

/// Leadership of this replica; each clone sees it end.
#[derive(Debug, Clone)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// Leadership that nobody contests: one replica without a lease, or a test.
    pub fn unshared() -> Self {
        let far = Instant::now() + Duration::from_secs(60 * 60 * 24 * 365);
        let (sender, receiver) = watch::channel(Some(far));
        // The channel must stay open, or it would read as leadership lost.
        tokio::spawn(async move { sender.closed().await });
        Self(receiver)
    }

    /// Whether this replica may still write.
    pub fn holds(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Resolves when leadership is lost.
    pub async fn lost(mut self) {
        loop {
            let until = *self.0.borrow_and_update();
            let Some(until) = until.filter(|until| Instant::now() < *until) else {
                return;
            };
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                changed = self.0.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// Waits until this replica leads, then keeps renewing in the background.
pub async fn lead(client: Client, candidate: Candidate) -> Leadership {
    let leases: Api<Lease> = Api::namespaced(client, &candidate.namespace);
    let candidate = Arc::new(candidate);
    let mut seen = None;
    loop {
        let asked = Instant::now();
        match acquire_or_renew(&leases, &candidate, &mut seen).await {
            Ok(true) => {
                let (sender, receiver) = watch::channel(Some(asked + RENEW_DEADLINE));
                tokio::spawn(renew(leases, candidate, sender));
                return Leadership(receiver);
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "could not ask for the lease"),
        }
        sleep(RETRY).await;
    }
}

/// Gives the lease back, so that a successor need not wait for it to run out.
///
/// # Errors
/// The API server's; the lease then runs out by itself.
pub async fn step_down(client: Client, candidate: &Candidate) -> kube::Result<()> {
    let leases: Api<Lease> = Api::namespaced(client, &candidate.namespace);
    let Some(mut lease) = leases.get_opt(&candidate.name).await? else {
        return Ok(());
    };
    let spec = lease.spec.get_or_insert_default();
    if spec.holder_identity.as_deref() == Some(candidate.identity.as_str()) {
        spec.holder_identity = None;
        spec.renew_time = None;
        lost_race_is_no(
            leases
                .replace(&candidate.name, &PostParams::default(), &lease)
                .await,
        )?;
    }
    Ok(())
}

async fn renew(
    leases: Api<Lease>,
    candidate: Arc<Candidate>,
    until: watch::Sender<Option<Instant>>,
) {
    let mut seen = None;
    while !until.is_closed() {
        sleep(RETRY).await;
        let asked = Instant::now();
        match acquire_or_renew(&leases, &candidate, &mut seen).await {
            Ok(true) => {
                until.send_replace(Some(asked + RENEW_DEADLINE));
            }
            Ok(false) => {
                tracing::error!("another replica holds the lease");
                until.send_replace(None);
                return;
            }
            Err(error) => tracing::warn!(%error, "could not renew the lease"),
        }
    }
}

/// What the lease said when it last changed, and when this replica saw that. Expiry is judged by this
/// replica's own clock from there, so clocks of different nodes need not agree.
type Seen = Option<(Option<String>, Option<MicroTime>, Instant)>;

async fn acquire_or_renew(
    leases: &Api<Lease>,
    candidate: &Candidate,
    seen: &mut Seen,
) -> kube::Result<bool> {
    let Some(mut lease) = leases.get_opt(&candidate.name).await? else {
        let metadata = ObjectMeta {
            name: Some(candidate.name.clone()),
            ..Default::default()
        };
        let lease = Lease {
            metadata,
            spec: Some(held(candidate, None)),
        };
        return lost_race_is_no(leases.create(&PostParams::default(), &lease).await);
    };
    let spec = lease.spec.clone().unwrap_or_default();
    let holder = spec
        .holder_identity
        .clone()
        .filter(|holder| !holder.is_empty());
    let now = Instant::now();
    let unchanged = seen.as_ref().is_some_and(|(holder, renewed, _)| {
        *holder == spec.holder_identity && *renewed == spec.renew_time
    });
    if !unchanged {
        *seen = Some((spec.holder_identity.clone(), spec.renew_time.clone(), now));
    }
    let since = seen.as_ref().map_or(now, |(_, _, since)| *since);
    let lasts = spec
        .lease_duration_seconds
        .and_then(|s| u64::try_from(s).ok());
    let expired = now >= since + lasts.map_or(LEASE, Duration::from_secs);
    let mine = holder.as_deref() == Some(candidate.identity.as_str());
    if !(mine || holder.is_none() || expired) {
        return Ok(false);
    }
    lease.spec = Some(held(candidate, Some(&spec)));
    // The object carries the resourceVersion that was read: of two that try, one is refused.
    lost_race_is_no(
        leases
            .replace(&candidate.name, &PostParams::default(), &lease)
            .await,
    )
}

fn held(candidate: &Candidate, before: Option<&LeaseSpec>) -> LeaseSpec {
    let now = MicroTime(Timestamp::now());
    let before = before.cloned().unwrap_or_default();
    let mine = before.holder_identity.as_deref() == Some(candidate.identity.as_str());
    let transitions = before.lease_transitions.unwrap_or(0);
    LeaseSpec {
        acquire_time: if mine {
            before.acquire_time.clone()
        } else {
            Some(now.clone())
        },
        holder_identity: Some(candidate.identity.clone()),
        lease_duration_seconds: Some(LEASE_SECONDS),
        lease_transitions: Some(if mine {
            transitions
        } else {
            transitions.saturating_add(1)
        }),
        renew_time: Some(now),
        ..before
    }
}

fn lost_race_is_no(written: kube::Result<Lease>) -> kube::Result<bool> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
