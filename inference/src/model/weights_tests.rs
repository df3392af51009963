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

#[test]
fn matrices_are_quantized_on_loading_and_routers_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let data: Vec<u8> = (0..4 * 512u32)
        .flat_map(|i| (i as f32 / 2048.0 - 0.5).to_le_bytes())
        .collect();
    let view = || TensorView::new(Dtype::F32, vec![4, 512], &data).unwrap();
    let names = [
        "lm_head.weight",
        "l.mlp.up_proj.weight",
        "l.mlp.gate.weight",
    ];
    let file = safetensors::serialize(names.map(|name| (name, view())), None).unwrap();
    fs::write(folder.path().join(SINGLE), file).unwrap();
    let files = open(folder.path().to_str().unwrap()).unwrap();
    let progress = LoadProgress::default();
    let weights = Weights::open(&files, DType::F32, Quantization::Q4K, &progress).unwrap();
    // 144 bytes for 256 weights in q4_k, 34 for 32 in q8_0, 4 each in f32.
    assert_eq!(weights.size().bytes, 8 * 144 + 64 * 34 + 2048 * 4);
    let x = Tensor::ones((1, 512), DType::F32, &candle_core::Device::Cpu).unwrap();
    for name in names {
        let linear = weights.linear(&[name.to_owned()], &[4], 512, None).unwrap();
        let sums: Vec<f32> = linear
            .forward(&x)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap();
        for (row, sum) in sums.iter().enumerate() {
            let expected = 512.0 * ((row as f32 * 512.0 + 255.5) / 2048.0 - 0.5);
            assert!(
                (sum - expected).abs() < 0.5,
                "{name}: {sum}, not {expected}"
            );
        }
    }
    assert_eq!(
        weights.quantized().unwrap(),
        "matrices: 1 in dense (routers); 1 in q4_k; 1 in q8_0 (embedding or LM head)"
    );
}

#[test]
fn a_gpu_holds_experts_number_by_number() {
    let folder = tempfile::tempdir().unwrap();
    let data = [0u8; 4 * 512 * 4];
    let view = || TensorView::new(Dtype::F32, vec![4, 512], &data).unwrap();
    let names = ["l.mlp.up_proj.weight", "l.mlp.experts.0.up_proj.weight"];
    let file = safetensors::serialize(names.map(|name| (name, view())), None).unwrap();
    fs::write(folder.path().join(SINGLE), file).unwrap();
    let files = open(folder.path().to_str().unwrap()).unwrap();
    let progress = LoadProgress::default();
    let weights = Weights::open(&files, DType::BF16, Quantization::Q8_0, &progress).unwrap();
    let (on_cpu, size) = (weights.size(), weights.for_gpu().size());
    assert_eq!((on_cpu.bytes, on_cpu.in_blocks), (2 * 64 * 34, 2 * 2048));
    assert_eq!((size.bytes, size.in_blocks), (64 * 34 + 2048 * 2, 2048));
}

#[test]
fn the_models_type_is_that_of_most_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = [0u8; 48];
    let view = |dtype, shape| TensorView::new(dtype, shape, &bytes).unwrap();
    let short = TensorView::new(Dtype::F32, vec![2], &bytes[..8]).unwrap();
    let tensors = [
        ("norm", short),
        ("matrix", view(Dtype::BF16, vec![4, 6])),
        ("ids", view(Dtype::I64, vec![6])),
    ];
    let file = safetensors::serialize(tensors, None).unwrap();
    fs::write(folder.path().join(SINGLE), file).unwrap();
    let files = open(folder.path().to_str().unwrap()).unwrap();
    for _ in 0..8 {
        assert_eq!(Weights::saved_dtype(&files).unwrap(), Some(DType::BF16));
    }
}
