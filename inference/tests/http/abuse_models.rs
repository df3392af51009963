//! Models that are damaged, or made to do harm: the program refuses each with one line that names the
//! file and the tensor or setting, and an exit code that says so.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Map, Value, json};

const ENGINE: &str = env!("CARGO_BIN_EXE_candela-engine");

/// A copy of the demo model, to be damaged.
struct Model(tempfile::TempDir);

impl Model {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "model.safetensors",
        ] {
            fs::copy(demo(file), folder.path().join(file)).unwrap();
        }
        Self(folder)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn write(&self, file: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(file), bytes).unwrap();
    }

    /// Changes what the header of the weights says.
    fn change_header(&self, change: impl FnOnce(&mut Map<String, Value>)) {
        let bytes = fs::read(self.path(WEIGHTS)).unwrap();
        let (length, rest) = bytes.split_first_chunk().unwrap();
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let mut header: Map<String, Value> = serde_json::from_slice(header).unwrap();
        change(&mut header);
        let header = serde_json::to_vec(&header).unwrap();
        self.write(
            WEIGHTS,
            [&(header.len() as u64).to_le_bytes(), &header[..], data].concat(),
        );
    }

    /// Serves it, which must fail; returns the one line that says why.
    #[track_caller]
    fn refusal(&self, more: &[&str]) -> String {
        let Output { status, stderr, .. } = Command::new(ENGINE)
            .arg(format!("--model={}", self.0.path().display()))
            .args(["--host=127.0.0.1", "--port=0"])
            .args(more)
            .env("RUST_BACKTRACE", "0")
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&stderr);
        let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
        assert_eq!((status.code(), errors.len()), (Some(1), 1), "{log}");
        assert_eq!(log.lines().last(), errors.last().copied(), "{log}");
        errors[0].to_owned()
    }
}

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const TENSOR: &str = "model.norm.weight";

fn demo(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("models/demo")
        .join(file)
}

#[track_caller]
fn assert_names(refusal: &str, names: &[&str]) {
    for name in names {
        assert!(refusal.contains(name), "{name} is not named: {refusal}");
    }
}

#[test]
fn damaged_weights_are_refused_by_file_and_tensor() {
    let set = |key: &'static str, value: Value| {
        move |header: &mut Map<String, Value>| header[TENSOR][key] = value
    };
    let offsets = || -> Vec<u64> {
        let model = Model::new();
        let mut offsets = Value::Null;
        model.change_header(|header| offsets = header[TENSOR]["data_offsets"].clone());
        serde_json::from_value(offsets).unwrap()
    };
    let (from, to) = (offsets()[0], offsets()[1]);
    type Change = Box<dyn FnOnce(&mut Map<String, Value>)>;
    let cases: Vec<(&str, Change)> = vec![
        ("overflows", Box::new(set("shape", json!([1u64 << 62, 8])))),
        ("takes", Box::new(set("shape", json!([1_000_003])))),
        ("no list of sizes", Box::new(set("shape", json!([-1])))),
        ("no list of sizes", Box::new(set("shape", json!([1e308])))),
        ("dtype", Box::new(set("dtype", json!("F1024")))),
        (
            "before it begins",
            Box::new(set("data_offsets", json!([to, from]))),
        ),
        (
            "no two places",
            Box::new(set("data_offsets", json!([from, u64::MAX, 1]))),
        ),
        (
            "takes",
            Box::new(set("data_offsets", json!([from, u64::MAX]))),
        ),
        (
            "no tensor",
            Box::new(|header| {
                let norm = header.remove(TENSOR).unwrap();
                header.insert("model.other.weight".to_owned(), norm);
            }),
        ),
    ];
    for (problem, change) in cases {
        let model = Model::new();
        model.change_header(change);
        let refusal = model.refusal(&[]);
        assert_names(&refusal, &[TENSOR, problem]);
        assert!(
            refusal.contains(WEIGHTS) || problem == "no tensor",
            "{refusal}"
        );
    }
    // Two tensors over each other: the second begins where the first does.
    let model = Model::new();
    model.change_header(|header| {
        let at = |entry: &Value, end: usize| entry["data_offsets"][end].as_u64();
        let first = header.values().find(|entry| at(entry, 0) == Some(0));
        let end = first
            .and_then(|entry| at(entry, 1))
            .expect("a first tensor");
        let second = header.values_mut().find(|entry| at(entry, 0) == Some(end));
        let second = second.expect("a second tensor");
        let bytes = at(second, 1).expect("it ends") - end;
        second["data_offsets"] = json!([0, bytes]);
    });
    let refusal = model.refusal(&[]);
    assert_names(&refusal, &[WEIGHTS, "tensor ", "inside of another"]);
}

#[test]
fn weights_cut_off_anywhere_and_headers_that_lie_are_refused_by_file() {
    let whole = fs::read(demo(WEIGHTS)).unwrap();
    let model = Model::new();
    for kept in [0, 4, 8, 1_000, whole.len() / 2, whole.len() - 1] {
        model.write(WEIGHTS, &whole[..kept]);
        let refusal = model.refusal(&[]);
        assert_names(&refusal, &[WEIGHTS]);
        if kept > whole.len() / 4 {
            assert_names(&refusal, &["tensor ", "cut off"]);
        }
    }
    for length in [9, 1 << 40, u64::MAX, i64::MAX as u64] {
        model.write(WEIGHTS, [&length.to_le_bytes()[..], &whole[8..]].concat());
        assert_names(&model.refusal(&[]), &[WEIGHTS]);
    }
    for header in ["not JSON", "[]", "{\"a\":", "{\"\u{0}\": 3}"] {
        let length = (header.len() as u64).to_le_bytes();
        model.write(WEIGHTS, [&length[..], header.as_bytes()].concat());
        assert_names(&model.refusal(&[]), &[WEIGHTS]);
    }
}

#[test]
fn shards_that_are_missing_or_promised_wrongly_are_named_with_a_tensor() {
    let model = Model::new();
    let index =
        |place: &str| json!({"weight_map": {"a.weight": WEIGHTS, TENSOR: place}}).to_string();
    model.write(INDEX, index("model-00002-of-00002.safetensors"));
    assert_names(
        &model.refusal(&[]),
        &["model-00002-of-00002.safetensors", TENSOR],
    );
    model.write(INDEX, index(WEIGHTS));
    assert_names(&model.refusal(&[]), &[WEIGHTS, "a.weight"]);
    model.write(INDEX, index("../../../../etc/passwd"));
    assert_names(&model.refusal(&[]), &["etc/passwd"]);
    for malformed in ["", "[]", "{}", r#"{"weight_map": [1]}"#] {
        model.write(INDEX, malformed);
        assert_names(&model.refusal(&[]), &[INDEX]);
    }
}

#[test]
fn template_bombs_are_refused() {
    let bombs = [
        // Without end, of text without end, of memory without end, without end of itself.
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}".to_owned(),
        "{% for a in range(99999) %}{{ 'a' * 100000 }}{% endfor %}".to_owned(),
        "{% set ns = namespace(x='aaaaaaaa') %}{% for a in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}".to_owned(),
        "{% for a in".to_owned(),
        "a".repeat((1 << 20) + 1),
    ];
    for bomb in bombs {
        let model = Model::new();
        model.write("chat_template.jinja", &bomb);
        assert_names(&model.refusal(&[]), &["chat template"]);
    }
    // The same by the other two ways in.
    let model = Model::new();
    let bomb = "{% for a in range(99999) %}{{ 'a' * 100000 }}{% endfor %}";
    model.write("other.jinja", bomb);
    let flag = format!("--chat-template={}", model.path("other.jinja").display());
    assert_names(&model.refusal(&[&flag]), &["chat template"]);
    model.write(
        "tokenizer_config.json",
        json!({"chat_template": bomb}).to_string(),
    );
    assert_names(&model.refusal(&[]), &["chat template"]);
    model.write("tokenizer_config.json", "[".repeat(100_000));
    assert_names(&model.refusal(&[]), &["tokenizer_config.json"]);
}

#[test]
fn tokenizer_bombs_are_refused() {
    let text = fs::read_to_string(demo("tokenizer.json")).unwrap();
    let tokenizer: Value = serde_json::from_str(&text).unwrap();
    let with = |key: &str, value: Value| {
        let mut changed = tokenizer.clone();
        changed[key] = value;
        changed.to_string()
    };
    let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    let mut nested = json!({"type": "NFC"});
    for _ in 0..500 {
        nested = json!({"type": "Sequence", "normalizers": [nested]});
    }
    let bombs = [
        with(
            "normalizer",
            json!({"type": "Sequence", "normalizers": vec![double.clone(); 60]}),
        ),
        with(
            "decoder",
            json!({"type": "Sequence", "decoders": vec![double; 60]}),
        ),
        with("normalizer", nested),
        with(
            "model",
            json!({"type": "BPE", "vocab": {"a": u64::MAX}, "merges": []}),
        ),
        with(
            "model",
            json!({"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}),
        ),
        with(
            "model",
            json!({"type": "Unigram", "unk_id": 7, "vocab": []}),
        ),
        "[".repeat(1 << 20),
        "{}".to_owned(),
        String::new(),
    ];
    for bomb in bombs {
        let model = Model::new();
        model.write("tokenizer.json", &bomb);
        assert_names(&model.refusal(&[]), &["tokeniz"]);
    }
    for file in ["tokenizer.json", "config.json"] {
        let model = Model::new();
        fs::File::options()
            .write(true)
            .open(model.path(file))
            .unwrap()
            .set_len(1 << 30)
            .unwrap();
        assert_names(&model.refusal(&[]), &[file]);
    }
}

#[test]
fn no_number_in_a_configuration_makes_loading_panic() {
    use candela_engine::model::{Device, LoadProgress, load, open};
    let config: Map<String, Value> =
        serde_json::from_slice(&fs::read(demo("config.json")).unwrap()).unwrap();
    let hostile = [
        json!(0),
        json!(-1),
        json!(1),
        json!(3),
        json!(1u64 << 31),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1e308),
        json!(null),
        json!("text"),
        json!([]),
        json!({}),
    ];
    let model = Model::new();
    let files = open(model.0.path().to_str().unwrap()).unwrap();
    let flags = candela_flags::EngineFlags::for_model("hostile");
    for key in config.keys() {
        for value in &hostile {
            let mut config = config.clone();
            config[key] = value.clone();
            model.write("config.json", serde_json::to_vec(&config).unwrap());
            let loaded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                drop(load(&files, Device::Cpu, &flags, &LoadProgress::default()));
            }));
            assert!(loaded.is_ok(), "{key}: {value}");
        }
    }
}
