//! Whole numbers of the API that are no engine flag's: a value of [`Bounded`] is inside its bounds,
//! and serde and the schema refuse the same inputs.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// A number from `MIN` to `MAX`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Bounded<const MIN: i32, const MAX: i32>(i32);

/// Pods that one service may ask for.
pub type Replicas = Bounded<0, 10_000>;
/// Pods that a rollout may add or take away.
pub type RolloutPods = Bounded<0, 10_000>;
/// Seconds that a pod has to become ready.
pub type StartupSeconds = Bounded<10, 86_400>;

impl<const MIN: i32, const MAX: i32> Bounded<MIN, MAX> {
    /// `value`, or the nearest bound.
    pub fn clamped(value: i32) -> Self {
        Self(value.clamp(MIN, MAX))
    }

    /// The number.
    pub const fn get(self) -> i32 {
        self.0
    }
}

impl<const MIN: i32, const MAX: i32> fmt::Display for Bounded<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de, const MIN: i32, const MAX: i32> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = i64::deserialize(from)?;
        match i32::try_from(value) {
            Ok(number) if (MIN..=MAX).contains(&number) => Ok(Self(number)),
            _ => Err(D::Error::custom(format_args!(
                "{value} is not from {MIN} to {MAX}"
            ))),
        }
    }
}

impl<const MIN: i32, const MAX: i32> JsonSchema for Bounded<MIN, MAX> {
    fn schema_name() -> Cow<'static, str> {
        format!("From{MIN}To{MAX}").into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "format": "int32", "minimum": MIN, "maximum": MAX})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_refuses_what_is_outside() {
        assert_eq!(
            serde_json::from_str::<StartupSeconds>("10").unwrap().get(),
            10
        );
        for outside in ["9", "86401", "-1", "9223372036854775807", "1.5"] {
            assert!(
                serde_json::from_str::<StartupSeconds>(outside).is_err(),
                "{outside}"
            );
        }
    }
}
