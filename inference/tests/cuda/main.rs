//! The runner on a GPU against that on the processors: small models of every family, prompts in pieces beside each other, decoding by
//! graphs. Without a GPU on the device of software; with CANDELA_GPU=1 on the machine's own.
#![cfg(feature = "cuda")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod draws;
mod engine;
mod families;
#[path = "../../src/model/gguf/test_file.rs"]
#[expect(dead_code, reason = "the engine's own tests write more")]
mod gguf_file;
mod quantized;
mod runs;

use candela_engine::{
    model,
    sampling::{Past, RowTask, Sampler, SamplingParams},
};
use candela_flags::{Device, Dtype, LoadFormat};
use safetensors::tensor::Dtype as Saved;

use self::{
    families::Family,
    runs::{SEQUENCES, Session, all_logits, flags, gpu, load, prompt},
};

/// Largest difference in f32, as a share of the largest logit: both add in f32, in another order.
const F32_ERROR_MAX: f32 = 2e-5;
/// Where numbers are rounded to 16 bits, the GPU may be this much further from the result in f32 than the processors' bf16 is.
const ROUNDED_RATIO_MAX: f64 = 1.5;
/// Bits of f16 behind those of bf16: its results are nearer to those in f32.
const F16_RATIO_MAX: f64 = 0.5;

struct Folder(tempfile::TempDir);

impl Folder {
    fn of(family: &Family, dtype: Saved) -> Self {
        let folder = tempfile::tempdir().unwrap();
        family.write(folder.path(), dtype);
        Self(folder)
    }

    fn session(&self, dtype: Dtype, device: Device) -> Session {
        Session::new(&flags(self.0.path(), dtype), device)
    }
}

fn family(name: &str) -> Family {
    let mut families = families::all().into_iter();
    families.find(|family| family.name == name).unwrap()
}

fn largest_error(expected: &[Vec<f32>], got: &[Vec<f32>]) -> f32 {
    let pairs = expected.iter().flatten().zip(got.iter().flatten());
    let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let largest = expected
        .iter()
        .flatten()
        .fold(0.0, |m: f32, x| m.max(x.abs()));
    assert!(got.iter().flatten().all(|x| x.is_finite()));
    difference / largest
}

/// The root mean square of the differences, as a share of that of the logits; the median over the rows.
fn median_error(expected: &[Vec<f32>], got: &[Vec<f32>]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let mut errors: Vec<f64> = expected
        .iter()
        .zip(got)
        .map(|(expected, got)| {
            let difference: f64 = expected.iter().zip(got).map(|(a, b)| square(a - b)).sum();
            let all: f64 = expected.iter().map(|a| square(*a)).sum();
            (difference / all).sqrt()
        })
        .collect();
    errors.sort_by(f64::total_cmp);
    errors[errors.len() / 2]
}

#[test]
fn logits_in_f32_are_those_of_the_processors() {
    let gpu = gpu();
    for family in families::all() {
        let folder = Folder::of(&family, Saved::F32);
        let expected = all_logits(&mut folder.session(Dtype::Float32, Device::Cpu), 200, 4);
        for piece in [13, 100] {
            let got = all_logits(&mut folder.session(Dtype::Float32, gpu.device), piece, 4);
            let error = largest_error(&expected, &got);
            println!("{} f32, pieces of {piece}: {error:.1e}", family.name);
            assert!(error < F32_ERROR_MAX, "{}: {error}", family.name);
        }
    }
}

#[test]
fn logits_in_bf16_are_as_near_to_f32_as_those_of_the_processors() {
    let gpu = gpu();
    for family in families::all() {
        let folder = Folder::of(&family, Saved::BF16);
        let exact = all_logits(&mut folder.session(Dtype::Float32, Device::Cpu), 200, 4);
        let cpu = all_logits(&mut folder.session(Dtype::Bfloat16, Device::Cpu), 200, 4);
        let cpu = median_error(&exact, &cpu);
        for piece in [13, 100] {
            let got = all_logits(&mut folder.session(Dtype::Auto, gpu.device), piece, 4);
            let error = median_error(&exact, &got);
            println!(
                "{} bf16, pieces of {piece}: {error:.1e}, the processors {cpu:.1e}",
                family.name
            );
            assert!(
                error < ROUNDED_RATIO_MAX * cpu,
                "{}: {error}, {cpu}",
                family.name
            );
        }
    }
}

#[test]
fn a_model_saved_in_f16_is_run_in_f16() {
    let gpu = gpu();
    for name in ["llama", "gemma2", "gemma3", "qwen3-moe"] {
        let folder = Folder::of(&family(name), Saved::F16);
        let exact = all_logits(&mut folder.session(Dtype::Float32, Device::Cpu), 200, 4);
        let cpu = all_logits(&mut folder.session(Dtype::Bfloat16, Device::Cpu), 200, 4);
        let mut session = folder.session(Dtype::Auto, gpu.device);
        assert_eq!(session.model.dtype, "float16");
        let (cpu, error) = (
            median_error(&exact, &cpu),
            median_error(&exact, &all_logits(&mut session, 13, 4)),
        );
        println!("{name} f16: {error:.1e}, the processors in bf16 {cpu:.1e}");
        assert!(error < F16_RATIO_MAX * cpu, "{name}: {error}, {cpu}");
    }
}

/// The likeliest tokens, one after the other.
fn greedy(session: &mut Session, sequence: usize, length: usize, tokens: usize) -> Vec<u32> {
    let mut next = prompt(sequence, length);
    (0..tokens)
        .map(|_| {
            let rows = session.step(&[(sequence, &next)]);
            let last = rows.last().unwrap().iter().enumerate();
            let (token, _) = last.max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
            next = vec![token as u32];
            token as u32
        })
        .collect()
}

#[test]
fn greedy_answers_are_those_of_the_processors() {
    let gpu = gpu();
    for name in ["llama", "gemma2", "olmo2"] {
        let folder = Folder::of(&family(name), Saved::F32);
        let mut cpu = folder.session(Dtype::Float32, Device::Cpu);
        let mut gpu = folder.session(Dtype::Float32, gpu.device);
        for (sequence, length) in [(0, 5), (1, 40)] {
            let answer = greedy(&mut gpu, sequence, length, 20);
            assert_eq!(answer, greedy(&mut cpu, sequence, length, 20), "{name}");
        }
    }
}

/// Prompts of all sequences, so that each can decode.
fn started(folder: &Folder, dtype: Dtype, device: Device) -> Session {
    let mut session = folder.session(dtype, device);
    for sequence in 0..SEQUENCES {
        session.step(&[(sequence, &prompt(sequence, 20 + 21 * sequence))]);
    }
    session
}

#[test]
fn what_a_graph_does_is_what_its_launches_do() {
    let gpu = gpu();
    for name in ["qwen3", "gemma3", "mixtral"] {
        let folder = Folder::of(&family(name), Saved::BF16);
        let mut session = started(&folder, Dtype::Auto, gpu.device);
        for sequences in [1, 2, 3, 4, 6] {
            let parts: Vec<(usize, &[u32])> = (0..sequences).map(|s| (s, &[7u32][..])).collect();
            // The first of a bucket launches, the second records, the third is a replay.
            let launched = session.step(&parts);
            for _ in 0..3 {
                assert_eq!(session.run(), launched, "{name}, {sequences} sequences");
            }
            assert_eq!(launched.len(), sequences);
            assert!(launched.iter().flatten().all(|x| x.is_finite()));
            (0..sequences).for_each(|sequence| session.back(sequence, 1));
        }
    }
}

#[test]
fn a_decoded_sequence_has_the_same_logits_whatever_is_beside_it() {
    let gpu = gpu();
    for (name, dtype) in [
        ("qwen3", Saved::BF16),
        ("gemma2", Saved::F16),
        ("phi3", Saved::F32),
        ("qwen3-moe", Saved::BF16),
    ] {
        let folder = Folder::of(&family(name), dtype);
        let mut session = started(&folder, Dtype::Auto, gpu.device);
        let mut run = |members: &[usize]| {
            let tokens: Vec<[u32; 1]> = members.iter().map(|&s| [3 + s as u32]).collect();
            let parts = members.iter().zip(&tokens);
            let parts: Vec<(usize, &[u32])> = parts.map(|(&s, token)| (s, &token[..])).collect();
            let rows = session.step(&parts);
            members.iter().for_each(|&s| session.back(s, 1));
            rows
        };
        // In a bucket of four, at different places, beside others, or beside none.
        let all = run(&[0, 1, 2, 3]);
        let others = run(&[5, 2, 4, 0]);
        let fewer = run(&[2, 1, 3]);
        assert_eq!(all[2], others[1], "{name}");
        assert_eq!(all[0], others[3], "{name}");
        assert_eq!(
            [&all[2], &all[1], &all[3]],
            [&fewer[0], &fewer[1], &fewer[2]],
            "{name}"
        );
        // Whether cuBLAS adds in the same order for another number of rows is its own matter; the software device does.
        if std::env::var_os("CANDELA_GPU").is_none() {
            for (sequence, expected) in all.iter().enumerate() {
                assert_eq!(&run(&[sequence])[0], expected, "{name} alone");
            }
        }
    }
}

#[test]
fn steps_take_no_memory_of_the_device() {
    let gpu = gpu();
    let folder = Folder::of(&family("llama"), Saved::BF16);
    let mut session = started(&folder, Dtype::Auto, gpu.device);
    let model::Device::Cuda(device) = model::open_device(gpu.device).unwrap() else {
        panic!("a GPU was asked for");
    };
    let parts: Vec<(usize, &[u32])> = (0..4).map(|s| (s, &[7u32][..])).collect();
    let params = SamplingParams {
        frequency_penalty: 0.5,
        logprobs: Some(5),
        ..SamplingParams::greedy(1)
    };
    let mut steps = |count: usize| {
        for _ in 0..count {
            session.step(&parts);
            let mut samplers: Vec<Sampler> = (0..4).map(|seed| Sampler::new(seed, 0)).collect();
            let past = Past {
                prompt: &[1],
                answer: &[2, 3],
            };
            let draws = samplers
                .iter_mut()
                .map(|sampler| RowTask::Draw(sampler.draw(&params, Some(&[7, 7]), &[5], past)));
            assert!(session.draw(draws).iter().all(Result::is_ok));
            (0..4).for_each(|sequence| session.back(sequence, 1));
        }
    };
    // Launched, recorded, replayed.
    steps(3);
    let before = device.free_bytes().unwrap();
    steps(5);
    assert_eq!(device.free_bytes().unwrap(), before);
}

fn refusal(head_dim: usize, change: impl FnOnce(&mut candela_flags::EngineFlags)) -> String {
    let gpu = gpu();
    let folder = tempfile::tempdir().unwrap();
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": 1, "hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": head_dim,
        "intermediate_size": 64, "vocab_size": 100, "max_position_embeddings": 512, "tie_word_embeddings": true,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "eos_token_id": 2,
    });
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let mut flags = flags(folder.path(), Dtype::Auto);
    flags.load_format = LoadFormat::Dummy;
    change(&mut flags);
    load(&flags, gpu.device).err().expect("it is refused")
}

#[test]
fn what_a_gpu_does_not_run_is_refused_by_name() {
    let wide = refusal(320, |_| ());
    assert!(
        wide.contains("head_dim = 320") && wide.contains("--device=cpu"),
        "{wide}"
    );
    let long = refusal(32, |flags| {
        flags.gpu_memory_utilization = "0.000001".parse().unwrap();
    });
    assert!(long.contains("the model needs"), "{long}");
}
