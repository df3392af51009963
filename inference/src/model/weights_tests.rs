//! Damaged and mismatched files are refused, naming file and tensor.

use std::{fs, path::Path};

use safetensors::{Dtype, tensor::TensorView};

use super::*;
use crate::model::{
    open,
    shards::{INDEX, SINGLE},
};

fn write(folder: &Path, file: &str, names: &[&str]) {
    let data: Vec<u8> = [1f32, 2.0, 3.0, 4.0, 5.0, 6.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let view = |_: &&str| TensorView::new(Dtype::F32, vec![2, 3], &data).unwrap();
    let views: Vec<(&str, TensorView<'_>)> = names.iter().map(|n| (*n, view(n))).collect();
    fs::write(
        folder.join(file),
        safetensors::serialize(views, None).unwrap(),
    )
    .unwrap();
}

fn get(folder: &Path, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
    let progress = LoadProgress::default();
    let files = open(folder.to_str().unwrap()).unwrap();
    let weights = Weights::open(&files, DType::F32, Quantization::None, &progress)
        .map_err(|e| e.to_string())?;
    let tensor = weights.get(name, shape).map_err(|e| e.to_string())?;
    Ok(tensor.flatten_all().unwrap().to_vec1().unwrap())
}

#[test]
fn tensors_come_from_one_file_or_from_shards() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "model.safetensors", &["a"]);
    assert_eq!(
        get(folder.path(), "a", &[2, 3]).unwrap(),
        [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    );
    write(folder.path(), "part-1.safetensors", &["a"]);
    write(folder.path(), "part-2.safetensors", &["b"]);
    let index = r#"{"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}"#;
    fs::write(folder.path().join(INDEX), index).unwrap();
    assert!(get(folder.path(), "b", &[2, 3]).is_ok());
}

#[test]
fn errors_name_file_and_tensor() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "model.safetensors", &["a"]);
    let error = get(folder.path(), "a", &[3, 2]).unwrap_err();
    assert!(
        error.contains("model.safetensors: tensor a") && error.contains("[2, 3]"),
        "{error}"
    );
    assert!(
        get(folder.path(), "b", &[1])
            .unwrap_err()
            .contains("no tensor b")
    );

    let index = r#"{"weight_map": {"b": "model.safetensors"}}"#;
    fs::write(folder.path().join(INDEX), index).unwrap();
    assert!(
        get(folder.path(), "b", &[1])
            .unwrap_err()
            .contains("tensor b is missing")
    );
    let outside = r#"{"weight_map": {"b": "../secret"}}"#;
    fs::write(folder.path().join(INDEX), outside).unwrap();
    assert!(get(folder.path(), "b", &[1]).is_err());
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "model.safetensors", &["a"]);
    let whole = fs::read(folder.path().join(SINGLE)).unwrap();
    for len in 0..whole.len() {
        fs::write(folder.path().join(SINGLE), &whole[..len]).unwrap();
        let error = get(folder.path(), "a", &[2, 3]).unwrap_err();
        assert!(error.contains("model.safetensors"), "cut to {len}: {error}");
    }
}
