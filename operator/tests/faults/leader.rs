//! Two replicas of the operator: one leads at a time, and one that was cut off past its lease writes nothing that stays.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    fake::{
        Fake, Line, cluster,
        operator::{self, Options},
    },
    in_virtual_time,
    oracle::difference,
    specs::STEP,
    world::{IMAGE, NAME, REST, fresh, snapshot, store},
};

fn spec(step: u32, replicas: u32) -> Value {
    json!({"model": {"uri": "builtin://demo"}, "replicas": replicas,
           "pod": {"annotations": {STEP: step.to_string()}}})
}

fn replica(fake: &Fake, name: &'static str) -> (JoinHandle<()>, Line) {
    let (client, line) = fake.line(name);
    (
        tokio::spawn(operator::run_replica(client, Options::of(IMAGE), name)),
        line,
    )
}

fn claims(fake: &Fake) {
    for claim in ["models", "shared"] {
        let claim =
            json!({"metadata": {"name": claim}, "spec": {"accessModes": ["ReadWriteMany"]}});
        fake.put("PersistentVolumeClaim", claim, "user");
    }
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Template steps that the operator's replicas wrote, in order.
fn steps(fake: &Fake) -> Vec<u32> {
    let of_change = |after: &Value| {
        let step = after["spec"]["template"]["metadata"]["annotations"][STEP].as_str()?;
        step.parse().ok()
    };
    let history = fake.history();
    let writes = history
        .iter()
        .filter(|change| change.key.resource == "deployments" && change.by != "cluster");
    writes
        .filter_map(|change| of_change(change.after.as_deref()?))
        .collect()
}

#[test]
fn one_replica_works_at_a_time_and_the_next_takes_over() {
    in_virtual_time(1, async {
        let fake = Fake::default();
        claims(&fake);
        let cluster = tokio::spawn(cluster::run(fake.clone()));
        let (first, _) = replica(&fake, "first");
        pass(Duration::from_secs(5)).await;
        let (second, _) = replica(&fake, "second");
        store(&fake, NAME, &spec(0, 1));
        pass(REST).await;
        let writers = |fake: &Fake| {
            fake.writes("second")
                .iter()
                .filter(|c| c.key.resource != "leases")
                .count()
        };
        assert_eq!(writers(&fake), 0);
        first.abort();
        store(&fake, NAME, &spec(1, 2));
        pass(REST).await;
        assert!(writers(&fake) > 0);
        let wanted = fresh(&spec(1, 2));
        let now = snapshot(&fake);
        assert!(now == *wanted, "{}", difference(&now, &wanted));
        second.abort();
        cluster.abort();
    });
}

/// The leader is cut off at every moment of its work: what it was about to send arrives when the next leads.
#[test]
fn a_leader_cut_off_past_its_lease_writes_nothing_that_stays() {
    const APART_MILLIS: u64 = 25;
    for moment in 0..40 {
        in_virtual_time(moment, async {
            let fake = Fake::default();
            claims(&fake);
            fake.set_faults(Slow);
            let cluster = tokio::spawn(cluster::run(fake.clone()));
            let (first, line) = replica(&fake, "first");
            pass(Duration::from_secs(5)).await;
            let (second, _) = replica(&fake, "second");
            store(&fake, NAME, &spec(0, 1));
            pass(REST).await;
            store(&fake, NAME, &spec(1, 2));
            pass(Duration::from_millis(moment * APART_MILLIS)).await;
            line.cut(true);
            pass(Duration::from_secs(5)).await;
            store(&fake, NAME, &spec(2, 1));
            pass(REST).await;
            line.cut(false);
            pass(REST).await;
            let wanted = fresh(&spec(2, 1));
            let now = snapshot(&fake);
            assert!(
                now == *wanted,
                "cut off at {moment}: {}",
                difference(&now, &wanted)
            );
            let steps = steps(&fake);
            assert!(
                steps.is_sorted(),
                "cut off at {moment}: templates went back: {steps:?}"
            );
            first.abort();
            second.abort();
            cluster.abort();
        });
    }
}

/// Every call takes a while, so that a leader can be cut off between any two.
struct Slow;

impl crate::fake::faults::Faults for Slow {
    fn of_call(&mut self, _call: &crate::fake::call::Call) -> crate::fake::faults::Fate {
        crate::fake::faults::Fate {
            latency: Duration::from_millis(20),
            fault: None,
        }
    }
}
