//! Reads the header of a GGUF file: the keys, and where the tensors are. Nothing in a file is
//! believed: every count and length is checked against what is left of the file before anything is
//! allocated, and every tensor against the file's end and the other tensors.

use std::collections::HashMap;

use super::{
    error::Problem,
    metadata::{Metadata, Value},
    tensor_type::TensorType,
};

const MAGIC: [u8; 4] = *b"GGUF";
/// Most keys of a file; files have some fifty.
const KEYS_MAX: u64 = 1 << 16;
/// Most tensors; the largest models have some thousands.
const TENSORS_MAX: u64 = 1 << 16;
/// Most entries of an array; the largest vocabularies have some hundred thousand.
const ARRAY_MAX: u64 = 1 << 23;
/// Longest text: a chat template, or a description.
const TEXT_BYTES_MAX: u64 = 1 << 24;
const DIMENSIONS_MAX: u32 = 4;
const ALIGNMENT_DEFAULT: usize = 32;
const ALIGNMENT_MAX: usize = 1 << 16;

/// The header of a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    pub(super) metadata: Metadata,
    pub(super) tensors: HashMap<String, TensorInfo>,
}

/// Where a tensor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorInfo {
    /// Outermost dimension first.
    pub(super) shape: Vec<usize>,
    pub(super) kind: TensorType,
    /// Of its first byte in the file.
    pub(super) offset: usize,
    /// 0 for a type that is not read.
    pub(super) bytes: usize,
}

impl Header {
    /// Reads it from the bytes of the whole file.
    pub(super) fn read(file: &[u8]) -> Result<Self, Problem> {
        let mut reader = Reader {
            file,
            at: 0,
            place: "the beginning".to_owned(),
        };
        if reader.take(4).ok() != Some(&MAGIC[..]) {
            return Err(Problem::Magic);
        }
        let version = reader.u32()?;
        if !(2..=3).contains(&version) {
            return Err(Problem::Version(version));
        }
        let tensors = reader.count(TENSORS_MAX, 24, "tensors")?;
        let keys = reader.count(KEYS_MAX, 13, "keys")?;
        let metadata = reader.metadata(keys)?;
        let tensors = reader.tensors(tensors)?;
        let alignment = alignment(&metadata)?;
        let data_start = reader.at.next_multiple_of(alignment);
        let tensors = placed(tensors, data_start, alignment, file.len())?;
        Ok(Self { metadata, tensors })
    }
}

fn alignment(metadata: &Metadata) -> Result<usize, Problem> {
    let key = "general.alignment";
    let alignment = metadata.size(key)?.unwrap_or(ALIGNMENT_DEFAULT);
    if !alignment.is_power_of_two() || alignment > ALIGNMENT_MAX {
        return Err(Problem::Unsupported {
            key: key.to_owned(),
            value: alignment.to_string(),
        });
    }
    Ok(alignment)
}

/// Turns offsets into places in the file, and checks that each tensor lies in it, on its own.
fn placed(
    tensors: Vec<(String, TensorInfo)>,
    data_start: usize,
    alignment: usize,
    file_len: usize,
) -> Result<HashMap<String, TensorInfo>, Problem> {
    let mut placed = HashMap::with_capacity(tensors.len());
    let mut spans = Vec::with_capacity(tensors.len());
    for (name, mut info) in tensors {
        let damaged = |what: &str| Problem::damaged(format!("tensor {name}"), what);
        if !info.offset.is_multiple_of(alignment) {
            return Err(damaged("its offset is not aligned"));
        }
        let from = data_start.checked_add(info.offset);
        let end = from.and_then(|from| from.checked_add(info.bytes));
        let (Some(from), Some(end)) = (from, end.filter(|&end| end <= file_len)) else {
            return Err(damaged("the file ends before it does"));
        };
        info.offset = from;
        spans.push((from, end));
        if placed.contains_key(&name) {
            return Err(damaged("there are two of this name"));
        }
        placed.insert(name, info);
    }
    spans.sort_unstable();
    if spans.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return Err(Problem::damaged("the tensors", "two of them overlap"));
    }
    Ok(placed)
}

struct Reader<'a> {
    file: &'a [u8],
    at: usize,
    /// What is being read, for messages.
    place: String,
}

impl<'a> Reader<'a> {
    fn left(&self) -> usize {
        self.file.len() - self.at
    }

    fn damaged(&self, what: impl Into<String>) -> Problem {
        Problem::damaged(self.place.clone(), what)
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Problem> {
        if bytes > self.left() {
            return Err(self.damaged("the file ends here"));
        }
        self.at += bytes;
        Ok(&self.file[self.at - bytes..self.at])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let bytes = self.take(N)?;
        Ok(bytes
            .try_into()
            .expect("`take` gives as many bytes as were asked for"))
    }

    fn u32(&mut self) -> Result<u32, Problem> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Problem> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number of things that take at least `bytes_each`, at most `max`.
    fn count(&mut self, max: u64, bytes_each: usize, what: &str) -> Result<usize, Problem> {
        let count = self.u64()?;
        if count > max {
            return Err(self.damaged(format!("{count} {what}, at most {max} are read")));
        }
        let count = count as usize;
        if count.saturating_mul(bytes_each) > self.left() {
            return Err(self.damaged(format!("{count} {what} do not fit in the file")));
        }
        Ok(count)
    }

    fn text(&mut self) -> Result<String, Problem> {
        let len = self.count(TEXT_BYTES_MAX, 1, "bytes of text")?;
        let text = std::str::from_utf8(self.take(len)?);
        text.map(str::to_owned)
            .map_err(|_| self.damaged("a text is no UTF-8"))
    }

    fn metadata(&mut self, keys: usize) -> Result<Metadata, Problem> {
        let mut values = HashMap::with_capacity(keys);
        for index in 0..keys {
            self.place = format!("key {index}");
            let key = self.text()?;
            self.place.clone_from(&key);
            let kind = self.u32()?;
            let value = self.value(kind)?;
            if values.insert(key, value).is_some() {
                return Err(self.damaged("the key is there twice"));
            }
        }
        Ok(Metadata(values))
    }

    fn value(&mut self, kind: u32) -> Result<Value, Problem> {
        Ok(match kind {
            0 | 2 | 4 | 10 => Value::Unsigned(self.integer(kind)? as u64),
            1 | 3 | 5 | 11 => Value::Signed(self.integer(kind)?),
            6 => Value::Float(f64::from(f32::from_bits(self.u32()?))),
            7 => match self.array()? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [other] => return Err(self.damaged(format!("a truth value is {other}"))),
            },
            8 => Value::Text(self.text()?),
            9 => self.list()?,
            12 => Value::Float(f64::from_bits(self.u64()?)),
            other => return Err(self.damaged(format!("there is no type {other} of values"))),
        })
    }

    /// An integer of one of GGUF's types. Unsigned ones of 64 bits wrap.
    fn integer(&mut self, kind: u32) -> Result<i64, Problem> {
        Ok(match kind {
            0 | 7 => i64::from(self.array::<1>()?[0]),
            1 => i64::from(i8::from_le_bytes(self.array()?)),
            2 => i64::from(u16::from_le_bytes(self.array()?)),
            3 => i64::from(i16::from_le_bytes(self.array()?)),
            4 => i64::from(self.u32()?),
            5 => i64::from(i32::from_le_bytes(self.array()?)),
            _ => i64::from_le_bytes(self.array()?),
        })
    }

    fn list(&mut self) -> Result<Value, Problem> {
        let kind = self.u32()?;
        let bytes_each = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => return Err(self.damaged("lists of lists are not read")),
            other => return Err(self.damaged(format!("there is no type {other} of values"))),
        };
        let count = self.count(ARRAY_MAX, bytes_each, "entries")?;
        let entries = 0..count;
        Ok(match kind {
            6 => {
                let float = |_| self.u32().map(f32::from_bits);
                Value::Floats(entries.map(float).collect::<Result<_, _>>()?)
            }
            12 => {
                let float = |_| self.u64().map(|bits| f64::from_bits(bits) as f32);
                Value::Floats(entries.map(float).collect::<Result<_, _>>()?)
            }
            8 => Value::Texts(entries.map(|_| self.text()).collect::<Result<_, _>>()?),
            _ => {
                let integer = |_| self.integer(kind);
                Value::Integers(entries.map(integer).collect::<Result<_, _>>()?)
            }
        })
    }

    fn tensors(&mut self, count: usize) -> Result<Vec<(String, TensorInfo)>, Problem> {
        let mut tensors = Vec::with_capacity(count);
        for index in 0..count {
            self.place = format!("tensor {index}");
            let name = self.text()?;
            self.place = format!("tensor {name}");
            let info = self.tensor()?;
            tensors.push((name, info));
        }
        Ok(tensors)
    }

    fn tensor(&mut self) -> Result<TensorInfo, Problem> {
        let dimensions = self.u32()?;
        if !(1..=DIMENSIONS_MAX).contains(&dimensions) {
            return Err(self.damaged(format!("{dimensions} dimensions")));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let size = usize::try_from(self.u64()?).ok().filter(|&size| size > 0);
            shape.push(size.ok_or_else(|| self.damaged("a dimension of no possible size"))?);
        }
        let kind = TensorType::of(self.u32()?);
        let offset = self.u64()?;
        let offset = usize::try_from(offset).map_err(|_| self.damaged("its offset is absurd"))?;
        let numbers = shape
            .iter()
            .try_fold(1usize, |product, &size| product.checked_mul(size));
        let bytes = match kind.block() {
            None => 0,
            Some((len, _)) if !shape[0].is_multiple_of(len) => {
                return Err(self.damaged(format!("rows of {} are no whole blocks", shape[0])));
            }
            Some((len, bytes)) => numbers
                .and_then(|numbers| (numbers / len).checked_mul(bytes))
                .ok_or_else(|| self.damaged("it is absurdly large"))?,
        };
        shape.reverse();
        Ok(TensorInfo {
            shape,
            kind,
            offset,
            bytes,
        })
    }
}
