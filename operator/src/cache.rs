//! What watches have shown, kind by kind, so that a settled service costs no call. It keeps and finds; what to make of it
//! is decided in `reconcile`.
//!
//! Objects are kept as JSON without what nobody here reads: ten thousand services fit into a small pod.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    hash::Hash,
    marker::PhantomData,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures::{SinkExt, Stream, StreamExt, channel::mpsc, stream};
use kube::{
    Api, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        utils::Backoff,
        watcher::{self, Event, watcher},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::watch, time::sleep};

/// A watch is begun anew after this long, with a whole list: what it might have missed shows then.
const RELIST: Duration = Duration::from_secs(30 * 60);
/// Objects of one page of a list: what is in memory twice, as text and parsed, while it is read.
const PAGE: u32 = 100;
/// Lists of different kinds are spread over this much more.
const RELIST_SPREAD: Duration = Duration::from_secs(10 * 60);

/// Wait after a watch failed: kube counts the beginning of a list as a success, so that this is what comes again and again.
pub const RETRY: Duration = Duration::from_millis(800);
/// Longest wait.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// The API server no longer has the version that a watch was to go on from.
const EXPIRED: u16 = 410;

/// The service that an object belongs to: its namespace and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ServiceKey {
    /// The key of an object that has its service's name, or of the service itself.
    pub fn of(object: &impl Resource) -> Self {
        let metadata = object.meta();
        Self {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }
}

/// Objects of one kind; clones share them.
#[derive(Debug)]
pub struct Cache<K> {
    kept: Arc<RwLock<Kept>>,
    complete: watch::Sender<bool>,
    kind: PhantomData<fn() -> K>,
}

/// How one kind is watched.
pub struct Watched<K> {
    /// Where.
    pub api: Api<K>,
    /// Which objects.
    pub config: watcher::Config,
    /// The service that an object belongs to, if any.
    pub service: fn(&K) -> Option<ServiceKey>,
    /// Removes what nobody reads.
    pub trim: fn(&mut K),
    /// Wait after a failure, for a list that is dear to the API server longer.
    pub retry: Duration,
}

/// By service, then by name.
#[derive(Debug, Default)]
struct Objects(HashMap<ServiceKey, BTreeMap<Box<str>, Packed>>);

#[derive(Debug, Default)]
struct Kept {
    objects: Objects,
    /// A list that is not complete yet.
    listed: Objects,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Packed {
    version: Box<str>,
    json: Box<[u8]>,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self {
            kept: Arc::clone(&self.kept),
            complete: self.complete.clone(),
            kind: PhantomData,
        }
    }
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Self {
            kept: Arc::default(),
            complete: watch::Sender::new(false),
            kind: PhantomData,
        }
    }
}

impl<K> Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    /// The objects of `service`, by name.
    pub fn of(&self, service: &ServiceKey) -> Vec<K> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let objects = kept.objects.0.get(service).into_iter().flatten();
        objects.filter_map(|(_, packed)| packed.unpack()).collect()
    }

    /// Resolves when the first list is complete.
    pub async fn complete(&self) {
        let _ = self.complete.subscribe().wait_for(|done| *done).await;
    }

    /// Keeps up with `watched` for ever, and tells `changed` of every service whose objects changed after the first list.
    pub async fn follow(self, watched: Watched<K>, mut changed: Option<mpsc::Sender<ServiceKey>>) {
        let Watched {
            api,
            config,
            service,
            trim,
            retry,
        } = watched;
        let mut events = std::pin::pin!(relisting(api, config, retry));
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event.modify(|object| {
                    object.managed_fields_mut().clear();
                    trim(object);
                }),
                // A quiet watch has grown older than what the API server keeps. A list follows, and nothing is lost.
                Err(watcher::Error::WatchError(status)) if status.code == EXPIRED => {
                    tracing::debug!(kind = &*K::kind(&()), "the watch begins anew");
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, kind = &*K::kind(&()), "watch failed");
                    continue;
                }
            };
            let keys = self.take(event, service);
            let Some(changed) = &mut changed else {
                continue;
            };
            for key in keys {
                if changed.send(key).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Keeps what an event shows, and says whose objects changed.
    fn take(&self, event: Event<K>, service: fn(&K) -> Option<ServiceKey>) -> Vec<ServiceKey> {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        let changed = |key: Option<ServiceKey>| key.into_iter().collect();
        match event {
            Event::Apply(object) => {
                let key = service(&object);
                key.iter().for_each(|key| kept.objects.put(&object, key));
                changed(key)
            }
            Event::Delete(object) => {
                let key = service(&object);
                key.iter().for_each(|key| kept.objects.remove(&object, key));
                changed(key)
            }
            Event::Init => {
                kept.listed = Objects::default();
                Vec::new()
            }
            Event::InitApply(object) => {
                let key = service(&object);
                key.iter().for_each(|key| kept.listed.put(&object, key));
                Vec::new()
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut kept.listed);
                let before = std::mem::replace(&mut kept.objects, listed);
                match self.complete.send_replace(true) {
                    true => before.differing(&kept.objects),
                    // Whoever waits for the first list looks at everything.
                    false => Vec::new(),
                }
            }
        }
    }
}

/// Every event of `api`, with a whole list from time to time. After a failure it is tried again after `retry`, give or take.
pub fn relisting<K>(
    api: Api<K>,
    config: watcher::Config,
    retry: Duration,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let config = config.page_size(PAGE);
    stream::repeat_with(move || {
        let until = RELIST + RELIST_SPREAD.mul_f64(fastrand::f64());
        watcher(api.clone(), config.clone())
            .backoff(Retries {
                first: retry,
                next: retry,
            })
            .take_until(sleep(until))
    })
    .flatten()
}

/// Waits that double, spread so that many operators do not come at once.
struct Retries {
    first: Duration,
    next: Duration,
}

impl Iterator for Retries {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.next;
        self.next = (wait * 2).min(RETRY_MAX.max(self.first));
        Some(wait.mul_f64(1.0 + fastrand::f64()))
    }
}

impl Backoff for Retries {
    fn reset(&mut self) {
        self.next = self.first;
    }
}

impl Objects {
    fn put(&mut self, object: &(impl Resource + Serialize), key: &ServiceKey) {
        let Some(packed) = Packed::pack(object) else {
            return;
        };
        let objects = self.0.entry(key.clone()).or_default();
        objects.insert(object.name_any().into(), packed);
    }

    fn remove(&mut self, object: &impl Resource, key: &ServiceKey) {
        if let Some(objects) = self.0.get_mut(key) {
            objects.remove(object.name_any().as_str());
            if objects.is_empty() {
                self.0.remove(key);
            }
        }
    }

    /// The services of which `after` has other objects.
    fn differing(&self, after: &Self) -> Vec<ServiceKey> {
        let gone = self.0.keys().filter(|key| !after.0.contains_key(*key));
        let changed = after.0.iter();
        let changed = changed.filter(|(key, objects)| self.0.get(*key) != Some(*objects));
        gone.chain(changed.map(|(key, _)| key)).cloned().collect()
    }
}

impl Packed {
    fn pack(object: &(impl Resource + Serialize)) -> Option<Self> {
        let json = serde_json::to_vec(object).ok()?;
        Some(Self {
            version: object.resource_version().unwrap_or_default().into(),
            json: json.into(),
        })
    }

    fn unpack<K: DeserializeOwned>(&self) -> Option<K> {
        serde_json::from_slice(&self.json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ServiceAccount;
    use kube::core::ObjectMeta;

    fn account(name: &str, version: &str) -> ServiceAccount {
        ServiceAccount {
            metadata: ObjectMeta {
                name: Some(name.into()),
                namespace: Some("team-a".into()),
                resource_version: Some(version.into()),
                ..Default::default()
            },
            ..Default::default()
        }
    }

    fn key(name: &str) -> ServiceKey {
        ServiceKey {
            namespace: "team-a".into(),
            name: name.into(),
        }
    }

    fn by_name(object: &ServiceAccount) -> Option<ServiceKey> {
        Some(key(&object.name_any()))
    }

    #[test]
    fn a_second_list_tells_what_the_watch_missed() {
        let cache = Cache::<ServiceAccount>::default();
        let list = |accounts: &[(&str, &str)]| {
            cache.take(Event::Init, by_name);
            for (name, version) in accounts {
                cache.take(Event::InitApply(account(name, version)), by_name);
            }
            cache.take(Event::InitDone, by_name)
        };
        assert_eq!(list(&[("same", "1"), ("gone", "1"), ("other", "1")]), []);
        assert_eq!(cache.of(&key("gone")), [account("gone", "1")]);
        let mut told = list(&[("same", "1"), ("other", "2"), ("new", "3")]);
        told.sort();
        assert_eq!(told, [key("gone"), key("new"), key("other")]);
        assert_eq!(cache.of(&key("gone")), []);
        assert_eq!(
            cache.take(Event::Delete(account("new", "4")), by_name),
            [key("new")]
        );
        assert_eq!(cache.of(&key("new")), []);
    }

    #[test]
    fn a_list_that_breaks_off_changes_nothing() {
        let cache = Cache::<ServiceAccount>::default();
        cache.take(Event::Init, by_name);
        cache.take(Event::InitApply(account("a", "1")), by_name);
        cache.take(Event::InitDone, by_name);
        cache.take(Event::Init, by_name);
        assert_eq!(cache.of(&key("a")), [account("a", "1")]);
    }
}
