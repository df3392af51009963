//! Writes small GGUF files for tests, sound ones and others.

use std::path::Path;

/// A GGUF file in the making.
#[derive(Debug, Clone, Default)]
pub(crate) struct TestFile {
    keys: u64,
    metadata: Vec<u8>,
    tensors: u64,
    infos: Vec<u8>,
    data: Vec<u8>,
}

const ALIGNMENT: usize = 32;

impl TestFile {
    fn key(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.keys += 1;
        text(&mut self.metadata, key);
        self.metadata.extend(kind.to_le_bytes());
        self.metadata.extend(value);
        self
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        let mut bytes = Vec::new();
        text(&mut bytes, value);
        self.key(key, 8, &bytes)
    }

    pub(crate) fn size(self, key: &str, value: u32) -> Self {
        self.key(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn float(self, key: &str, value: f32) -> Self {
        self.key(key, 6, &value.to_le_bytes())
    }

    pub(crate) fn texts(self, key: &str, values: &[&str]) -> Self {
        let mut bytes = 8u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| text(&mut bytes, value));
        self.key(key, 9, &bytes)
    }

    pub(crate) fn floats(self, key: &str, values: &[f32]) -> Self {
        self.list(key, 6, values.iter().map(|value| value.to_le_bytes()))
    }

    pub(crate) fn integers(self, key: &str, values: &[i32]) -> Self {
        self.list(key, 5, values.iter().map(|value| value.to_le_bytes()))
    }

    fn list(self, key: &str, kind: u32, values: impl ExactSizeIterator<Item = [u8; 4]>) -> Self {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        bytes.extend(values.flatten());
        self.key(key, 9, &bytes)
    }

    /// A tensor of GGML's type `kind`; `shape` is outermost first.
    pub(crate) fn tensor(mut self, name: &str, shape: &[usize], kind: u32, data: &[u8]) -> Self {
        self.tensors += 1;
        text(&mut self.infos, name);
        self.infos.extend((shape.len() as u32).to_le_bytes());
        for &size in shape.iter().rev() {
            self.infos.extend((size as u64).to_le_bytes());
        }
        self.infos.extend(kind.to_le_bytes());
        self.infos.extend((self.data.len() as u64).to_le_bytes());
        self.data.extend(data);
        self.data
            .resize(self.data.len().next_multiple_of(ALIGNMENT), 0);
        self
    }

    /// A tensor in f32.
    pub(crate) fn floats_tensor(self, name: &str, shape: &[usize], numbers: &[f32]) -> Self {
        let data: Vec<u8> = numbers
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        self.tensor(name, shape, 0, &data)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(3u32.to_le_bytes());
        file.extend(self.tensors.to_le_bytes());
        file.extend(self.keys.to_le_bytes());
        file.extend(&self.metadata);
        file.extend(&self.infos);
        file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
        file.extend(&self.data);
        file
    }

    pub(crate) fn write(&self, path: &Path) {
        std::fs::write(path, self.bytes()).expect("the test's folder is writable");
    }
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}
