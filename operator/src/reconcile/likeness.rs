//! Whether an object says what was applied to it, and how it was spelled. Pure.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

use super::pin::fnv1a;

/// What was applied, and what the API server made of it, of children that it spells in another way than we do. While both
/// stay the same there is nothing to write. Lost on restart: such a child is then applied once more, which changes nothing.
#[derive(Debug, Default)]
pub struct Written(Mutex<HashMap<String, (String, u64)>>);

/// Children that are remembered; beyond, all are forgotten and applied once more.
const REMEMBERED_MAX: usize = 200_000;

/// Members by which the items of a list are told apart, in the API's own order of preference.
const ITEM_KEYS: [&str; 5] = ["name", "mountPath", "containerPort", "uid", "type"];
/// Members that hold quantities, by name.
const QUANTITIES: [&str; 3] = ["limits", "requests", "capacity"];

impl Written {
    pub(super) fn is(&self, key: &str, (digest, projection): (&str, u64)) -> bool {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = written.get(key);
        known.is_some_and(|(known, seen)| known == digest && *seen == projection)
    }

    pub(super) fn remember(&self, key: String, digests: (String, u64)) {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if written.len() >= REMEMBERED_MAX {
            written.clear();
        }
        written.insert(key, digests);
    }
}

/// Whether every field of `wanted` is in `live`, with the same meaning.
pub(super) fn is_within(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => wanted.iter().all(|(name, wanted)| {
            let live = live.get(name).unwrap_or(&Value::Null);
            match QUANTITIES.contains(&name.as_str()) {
                true => has_quantities(wanted, live),
                false => is_within(wanted, live),
            }
        }),
        (Value::Array(items), Value::Array(live)) => {
            (items.len() <= live.len())
                && items.iter().enumerate().all(|(index, wanted)| {
                    counterpart(wanted, index, live).is_some_and(|live| is_within(wanted, live))
                })
        }
        // The API server leaves out what says nothing.
        (wanted, Value::Null) => is_empty(wanted),
        (wanted, live) => wanted == live,
    }
}

/// A digest of those parts of `live` that `wanted` has, too: what we own, as the API server spells it.
pub(super) fn projection(wanted: &Value, live: &Value) -> u64 {
    fnv1a(project(wanted, live).to_string().as_bytes())
}

fn project(wanted: &Value, live: &Value) -> Value {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            let member = |(name, wanted): (&String, &Value)| {
                let live = live.get(name);
                (
                    name.clone(),
                    live.map_or(Value::Null, |live| project(wanted, live)),
                )
            };
            wanted.iter().map(member).collect()
        }
        (Value::Array(wanted), Value::Array(live)) => {
            let item = |(index, wanted)| {
                counterpart(wanted, index, live).map_or(Value::Null, |live| project(wanted, live))
            };
            wanted.iter().enumerate().map(item).collect()
        }
        (_, live) => live.clone(),
    }
}

/// The item of `live` that stands for `wanted`: the one of the same key, or in the same place if items have no key.
fn counterpart<'a>(wanted: &Value, index: usize, live: &'a [Value]) -> Option<&'a Value> {
    let key = ITEM_KEYS.iter().find(|key| wanted.get(**key).is_some());
    match key {
        Some(key) => live.iter().find(|live| live.get(*key) == wanted.get(*key)),
        None => live.get(index),
    }
}

fn has_quantities(wanted: &Value, live: &Value) -> bool {
    let (Some(wanted), Some(live)) = (wanted.as_object(), live.as_object()) else {
        return is_within(wanted, live);
    };
    wanted.iter().all(|(name, wanted)| {
        let live = live.get(name).unwrap_or(&Value::Null);
        let texts = wanted.as_str().zip(live.as_str());
        wanted == live
            || texts.is_some_and(|(wanted, live)| {
                let amounts = amount(wanted).zip(amount(live));
                amounts.is_some_and(|(wanted, live)| wanted == live)
            })
    })
}

/// A Kubernetes quantity in thousand-millionths, the finest that the API server keeps; `None` if it is none, or too large.
fn amount(text: &str) -> Option<i128> {
    const SCALE: i128 = 1_000_000_000;
    let digits_end = text
        .find(|c: char| !(c.is_ascii_digit() || "+-.".contains(c)))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let (numerator, denominator) = match suffix {
        "" => (1, 1),
        "n" => (1, SCALE),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (SCALE, 1),
        "T" => (1000 * SCALE, 1),
        "P" => (1_000_000 * SCALE, 1),
        "E" => (SCALE * SCALE, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let power: u32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            (10_i128.checked_pow(power)?, 1)
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let places = u32::try_from(fraction.len()).ok()?;
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scaled = digits.checked_mul(SCALE)?.checked_mul(numerator)?;
    let divisor = 10_i128.checked_pow(places)?.checked_mul(denominator)?;
    Some(scaled / divisor)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(is_empty),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_we_own_is_compared() {
        let wanted =
            json!({"spec": {"replicas": 1, "list": [{"name": "a"}, {"name": "b", "v": 1}]}});
        let live = |replicas: u32, foreign: u32| {
            json!({"spec": {"replicas": replicas, "other": foreign, "list":
                [{"name": "theirs"}, {"name": "b", "v": 1}, {"name": "a", "more": foreign}]}})
        };
        assert!(is_within(&wanted, &live(1, 1)));
        assert!(!is_within(&wanted, &live(2, 1)));
        assert!(!is_within(&wanted, &json!({"spec": {}})));
        let seen = |live: &Value| projection(&wanted, live);
        assert_eq!(seen(&live(1, 1)), seen(&live(1, 2)));
        assert_ne!(seen(&live(1, 1)), seen(&live(2, 1)));
        assert_ne!(seen(&live(1, 1)), seen(&json!({"spec": {}})));
    }

    #[test]
    fn the_same_amount_may_be_spelled_in_two_ways() {
        for (wanted, live) in [
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("0.5", "500m"),
            ("2e3", "2k"),
            ("1.5Gi", "1536Mi"),
        ] {
            let spelled = |cpu: &str| json!({"resources": {"limits": {"cpu": cpu}}});
            assert!(
                is_within(&spelled(wanted), &spelled(live)),
                "{wanted} {live}"
            );
            let elsewhere = |value: &str| json!({"env": [{"name": "A", "value": value}]});
            assert!(
                !is_within(&elsewhere(wanted), &elsewhere(live)),
                "{wanted} {live}"
            );
        }
        for (one, other) in [("1", "2"), ("1G", "1Gi"), ("1", ""), ("x", "1")] {
            let spelled = |cpu: &str| json!({"limits": {"cpu": cpu}});
            assert!(!is_within(&spelled(one), &spelled(other)), "{one} {other}");
        }
    }

    #[test]
    fn what_says_nothing_may_be_left_out() {
        let wanted =
            json!({"env": [], "affinity": {}, "volumes": [{"name": "tmp", "emptyDir": {}}]});
        assert!(is_within(
            &wanted,
            &json!({"volumes": [{"name": "tmp", "emptyDir": {}}]})
        ));
        assert!(!is_within(&json!({"paused": true}), &json!({})));
    }
}
