//! The header of a safetensors file: checked as a whole, and when it is wrong, which tensor is to blame.

use safetensors::{Dtype, SafeTensors, tensor::Metadata};
use serde_json::{Map, Value};

use super::weights::WeightsError;

/// Largest header. A hundred thousand tensors take about 12 MB.
pub const SAFETENSORS_HEADER_BYTES_MAX: usize = 32 << 20;
/// Bytes before the header that hold its length.
const LENGTH_BYTES: usize = 8;

/// Checks a safetensors file as loading a model does, and returns the number of its tensors.
///
/// # Errors
/// [`WeightsError`], naming file and tensor.
pub fn check_safetensors(file: &str, bytes: &[u8]) -> Result<usize, WeightsError> {
    read_header(file, bytes).map(|(_, metadata)| metadata.tensors().len())
}

/// The header, and where the data begins. The whole file is checked: sizes, offsets, overlaps, and that
/// nothing is cut off.
pub(super) fn read_header(file: &str, bytes: &[u8]) -> Result<(usize, Metadata), WeightsError> {
    let length = bytes
        .first_chunk()
        .map(|&length| u64::from_le_bytes(length));
    if length.is_some_and(|length| length > SAFETENSORS_HEADER_BYTES_MAX as u64) {
        return Err(WeightsError::HeaderTooLarge {
            file: file.to_owned(),
            bytes: length.unwrap_or_default(),
        });
    }
    match SafeTensors::read_metadata(bytes) {
        Ok((header_bytes, metadata)) => Ok((LENGTH_BYTES + header_bytes, metadata)),
        Err(error) => Err(match to_blame(bytes) {
            Some((name, problem)) => WeightsError::HeaderTensor {
                file: file.to_owned(),
                name,
                problem,
            },
            None => WeightsError::Header {
                file: file.to_owned(),
                error,
            },
        }),
    }
}

/// The first tensor, by its place in the file, whose entry is wrong, and what is wrong with it.
fn to_blame(bytes: &[u8]) -> Option<(String, String)> {
    let length = usize::try_from(u64::from_le_bytes(*bytes.first_chunk()?)).ok()?;
    let (header, data) = bytes.get(LENGTH_BYTES..)?.split_at_checked(length)?;
    let header: Map<String, Value> = serde_json::from_slice(header).ok()?;
    let mut tensors: Vec<(&String, Result<Entry, String>)> = header
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(name, entry)| (name, Entry::read(entry)))
        .collect();
    if let Some((name, Err(problem))) = tensors.iter().find(|(_, entry)| entry.is_err()) {
        return Some(((*name).clone(), problem.clone()));
    }
    tensors.sort_by_key(|(_, entry)| entry.as_ref().map(|entry| (entry.from, entry.to)).ok());
    let mut end = 0;
    for (name, entry) in tensors {
        let Ok(Entry { from, to }) = entry else {
            continue;
        };
        let problem = if from < end {
            format!("its data begins at {from}, inside of another tensor's, which ends at {end}")
        } else if from > end {
            format!("its data begins at {from}, but the tensor before ends at {end}")
        } else if to > data.len() as u64 {
            let has = data.len();
            format!("its data ends at {to}, but the file is cut off and has {has} bytes of data")
        } else {
            end = to;
            continue;
        };
        return Some((name.clone(), problem));
    }
    None
}

/// Where a tensor's data is.
struct Entry {
    from: u64,
    to: u64,
}

impl Entry {
    /// An entry that is right by itself.
    fn read(entry: &Value) -> Result<Self, String> {
        let dtype = &entry["dtype"];
        let bits = serde_json::from_value::<Dtype>(dtype.clone())
            .map(|dtype| dtype.bitsize() as u64)
            .map_err(|_| format!("its dtype {} is unknown", shortened(dtype)))?;
        let shape = &entry["shape"];
        let shape: Vec<u64> = serde_json::from_value(shape.clone())
            .map_err(|_| format!("its shape {} is no list of sizes", shortened(shape)))?;
        let overflow = || format!("its shape {shape:?} overflows");
        let elements = shape
            .iter()
            .try_fold(1u64, |all, &size| all.checked_mul(size));
        let bits = elements
            .and_then(|all| all.checked_mul(bits))
            .ok_or_else(overflow)?;
        let offsets = &entry["data_offsets"];
        let [from, to]: [u64; 2] = serde_json::from_value(offsets.clone())
            .map_err(|_| format!("its data_offsets {} are no two places", shortened(offsets)))?;
        let bytes = to
            .checked_sub(from)
            .ok_or_else(|| format!("its data ends at {to}, before it begins at {from}"))?;
        if !bits.is_multiple_of(8) || bits / 8 != bytes {
            let wanted = bits.div_ceil(8);
            return Err(format!(
                "its shape {shape:?} takes {wanted} bytes, its data_offsets give it {bytes}"
            ));
        }
        Ok(Self { from, to })
    }
}

/// As much of a value as belongs into a message.
fn shortened(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let length = (header.len() as u64).to_le_bytes();
        [&length, header.as_bytes(), &vec![0; data]].concat()
    }

    fn refusal(header: &str, data: usize) -> String {
        check_safetensors("part-1.safetensors", &file(header, data))
            .unwrap_err()
            .to_string()
    }

    const A: &str = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;

    #[test]
    fn what_is_wrong_is_said_of_file_and_tensor() {
        let good = format!(r#"{{{A},"b":{{"dtype":"F16","shape":[],"data_offsets":[8,10]}}}}"#);
        assert_eq!(check_safetensors("f", &file(&good, 10)).unwrap(), 2);
        let b = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{{A},"b":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        for (header, data, problem) in [
            (good.clone(), 9, "cut off"),
            (good.clone(), 0, "cut off"),
            (b("F32", "[2]", "[4,12]"), 12, "inside of another"),
            (
                b("F32", "[2]", "[12,20]"),
                20,
                "the tensor before ends at 8",
            ),
            (
                b("F32", "[4294967296,4294967296]", "[8,16]"),
                16,
                "overflows",
            ),
            (
                b("F32", "[4611686018427387904,2]", "[8,16]"),
                16,
                "overflows",
            ),
            (b("F32", "[3]", "[8,16]"), 16, "takes 12 bytes"),
            (b("F32", "[-1]", "[8,16]"), 16, "no list of sizes"),
            (b("F32", "[2]", "[16,8]"), 16, "before it begins"),
            (
                b("F32", "[2]", "[8,18446744073709551616]"),
                16,
                "no two places",
            ),
            (b("F99", "[2]", "[8,16]"), 16, "F99"),
            (b("F4", "[3]", "[8,10]"), 10, "takes 2 bytes"),
        ] {
            let refusal = refusal(&header, data);
            let named = refusal.contains("part-1.safetensors") && refusal.contains("tensor ");
            assert!(named && refusal.contains(problem), "{header}: {refusal}");
        }
    }

    #[test]
    fn a_header_that_names_no_tensor_is_refused_by_its_file() {
        for header in ["", "{", "[]", "nonsense", "{\"a\": 1}", "\u{0}\u{0}"] {
            assert!(
                refusal(header, 0).contains("part-1.safetensors"),
                "{header}"
            );
        }
        assert!(refusal("{}", 1).contains("part-1.safetensors"));
        for length in [
            9,
            1 << 20,
            SAFETENSORS_HEADER_BYTES_MAX as u64 + 1,
            u64::MAX,
        ] {
            let bytes = [&length.to_le_bytes()[..], b"{}"].concat();
            let error = check_safetensors("f", &bytes).unwrap_err().to_string();
            assert!(error.starts_with("f: "), "{length}: {error}");
        }
        assert!(check_safetensors("f", b"1234567").is_err());
    }
}
