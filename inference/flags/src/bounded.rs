//! Numbers that know their bounds. A value of one of these types is inside them: the parser, serde
//! and the JSON schema all refuse the same inputs.

use std::fmt;

/// A number outside the bounds of its type. The message names both bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value} is not a number of {unit} from {min} to {max}")]
pub struct OutOfBounds {
    value: String,
    unit: &'static str,
    min: u64,
    max: u64,
}

/// What the values of a flag are: their bounds, and what they count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The smallest value.
    pub min: u64,
    /// The largest value.
    pub max: u64,
    /// What it counts.
    pub unit: &'static str,
}

macro_rules! bounded {
    ($($(#[$doc:meta])* $name:ident: $unit:literal, $min:literal..=$max:literal;)*) => {
        impl Bounds {
            /// Of the type that a flag's parser makes, where it is one of these.
            pub fn of(parser: &clap::builder::ValueParser) -> Option<Self> {
                let made = parser.type_id();
                $(if made == std::any::TypeId::of::<$name>() {
                    return Some(Self { min: $min, max: $max, unit: $unit });
                })*
                None
            }
        }
        $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The smallest value.
            pub const MIN: u64 = $min;
            /// The largest value.
            pub const MAX: u64 = $max;
            /// What it counts.
            pub const UNIT: &'static str = $unit;

            /// A value the program itself writes down; checked when it is compiled.
            pub const fn of<const V: u64>() -> Self {
                const { assert!(matches!(V, $min..=$max), "constant outside its bounds") };
                Self(V)
            }

            /// # Errors
            /// [`OutOfBounds`] when `value` is below `MIN` or above `MAX`.
            pub fn new(value: u64) -> Result<Self, OutOfBounds> {
                if (Self::MIN..=Self::MAX).contains(&value) {
                    Ok(Self(value))
                } else {
                    Err(Self::refuse(value.to_string()))
                }
            }

            /// The number.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The number as a length; every bounded type here fits an address on 64-bit machines.
            pub const fn as_usize(self) -> usize {
                self.0 as usize
            }

            fn refuse(value: String) -> OutOfBounds {
                OutOfBounds { value, unit: $unit, min: $min, max: $max }
            }
        }

        impl std::str::FromStr for $name {
            type Err = OutOfBounds;
            fn from_str(text: &str) -> Result<Self, OutOfBounds> {
                text.parse().map_err(|_| Self::refuse(text.to_owned())).and_then(Self::new)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl TryFrom<i64> for $name {
            type Error = OutOfBounds;
            fn try_from(value: i64) -> Result<Self, OutOfBounds> {
                u64::try_from(value)
                    .map_err(|_| Self::refuse(value.to_string()))
                    .and_then(Self::new)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_u64(self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let value = <i64 as serde::Deserialize>::deserialize(from)?;
                Self::try_from(value).map_err(serde::de::Error::custom)
            }
        }

        #[cfg(feature = "schemars")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "integer", "format": "int64", "minimum": Self::MIN, "maximum": Self::MAX
                })
            }
        }
    )*};
}

bounded! {
    /// Tokens of one sequence, prompt and answer together.
    ContextLength: "tokens", 16..=1_048_576;
    /// Sequences that may be in one step together.
    MaxSequences: "sequences", 1..=4_096;
    /// Tokens that one step may put through the model.
    BatchedTokens: "tokens", 16..=1_048_576;
    /// Sequences that may wait for their first step.
    QueuedRequests: "sequences", 1..=1_000_000;
    /// Blocks of the KV cache, of 32 tokens each.
    KvBlocks: "blocks", 2..=16_777_216;
    /// Memory of the KV cache.
    KvCacheBytes: "bytes", 65_536..=17_592_186_044_416;
    /// Largest request body.
    MaxBodyBytes: "bytes", 1_024..=1_073_741_824;
    /// A wait while the server shuts down.
    DrainSeconds: "seconds", 0..=86_400;
    /// Pause between comment lines that keep a silent stream open; 0 sends none.
    KeepAliveSeconds: "seconds", 0..=3_600;
    /// Connections open at a time.
    Connections: "connections", 1..=1_048_576;
    /// How long a peer is waited for.
    PeerSeconds: "seconds", 1..=86_400;
    /// Threads that compute.
    Threads: "threads", 1..=1_024;
    /// Memory of bodies that are on their way.
    BodyMemoryBytes: "bytes", 65_536..=1_099_511_627_776;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_named_in_the_error() {
        assert_eq!(MaxSequences::new(1).map(MaxSequences::get), Ok(1));
        assert_eq!(MaxSequences::new(4_096).map(MaxSequences::get), Ok(4_096));
        let error = "4097".parse::<MaxSequences>().unwrap_err().to_string();
        assert_eq!(error, "4097 is not a number of sequences from 1 to 4096");
        assert!("-1".parse::<MaxSequences>().is_err());
        assert!("18446744073709551616".parse::<MaxSequences>().is_err());
    }

    #[test]
    fn serde_refuses_what_the_parser_refuses() {
        assert!(serde_json::from_str::<ContextLength>("15").is_err());
        assert!(serde_json::from_str::<ContextLength>("16").is_ok());
        assert!(serde_json::from_str::<ContextLength>("-1").is_err());
    }
}
