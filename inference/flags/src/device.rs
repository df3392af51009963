//! What the engine computes on, and how much of a GPU's memory is its own.

use std::{fmt, str::FromStr};

/// The device that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// A GPU where the engine is built for GPUs and there is one, else the processors.
    #[default]
    Auto,
    /// The processors.
    Cpu,
    /// A GPU, by its place among those that the process sees.
    Cuda(u32),
}

/// A word that names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no device: give auto, cpu, cuda (the first GPU), or cuda:N (counted from 0)")]
pub struct NoSuchDevice(String);

impl FromStr for Device {
    type Err = NoSuchDevice;
    fn from_str(text: &str) -> Result<Self, NoSuchDevice> {
        match (text, text.strip_prefix("cuda:")) {
            ("auto", _) => Ok(Self::Auto),
            ("cpu", _) => Ok(Self::Cpu),
            ("cuda", _) => Ok(Self::Cuda(0)),
            (_, Some(index)) if index.bytes().all(|byte| byte.is_ascii_digit()) => index
                .parse()
                .map(Self::Cuda)
                .map_err(|_| NoSuchDevice(text.to_owned())),
            _ => Err(NoSuchDevice(text.to_owned())),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// Part of a GPU's memory that the engine may take: above 0, at most 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GpuMemoryUtilization(f64);

/// A number outside (0, 1].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a part of the GPU's memory: give a number above 0 and at most 1, such as 0.9"
)]
pub struct NoSuchPart(String);

impl GpuMemoryUtilization {
    /// The part.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Default for GpuMemoryUtilization {
    fn default() -> Self {
        Self(0.9)
    }
}

impl FromStr for GpuMemoryUtilization {
    type Err = NoSuchPart;
    fn from_str(text: &str) -> Result<Self, NoSuchPart> {
        match text.parse::<f64>() {
            Ok(part) if part > 0.0 && part <= 1.0 => Ok(Self(part)),
            _ => Err(NoSuchPart(text.to_owned())),
        }
    }
}

impl fmt::Display for GpuMemoryUtilization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written() {
        for device in [Device::Auto, Device::Cpu, Device::Cuda(0), Device::Cuda(7)] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        for bad in [
            "",
            "gpu",
            "cuda:",
            "cuda:-1",
            "cuda:+1",
            "cuda:99999999999",
            "CPU",
        ] {
            assert!(bad.parse::<Device>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_part_is_above_nothing_and_at_most_the_whole() {
        let part = |text: &str| text.parse().map(GpuMemoryUtilization::get);
        assert_eq!((part("0.5"), part("1")), (Ok(0.5), Ok(1.0)));
        for bad in ["0", "-0.1", "1.01", "NaN", "90", "90%", ""] {
            let error = part(bad).unwrap_err().to_string();
            assert!(error.contains("at most 1"), "{error}");
        }
    }
}
