//! `pull` from a hub that works: what is fetched, what is asked, who may, and what is refused.

use serde_json::json;

use crate::{
    hub::{Hub, REPO},
    program::{Machine, names},
};

pub(crate) const WEIGHTS: &str = "model.safetensors";
pub(crate) const MODEL: &str = "hf://org/model";

/// A repository as people publish them: what an engine needs, and more.
pub(crate) fn hub() -> Hub {
    let file = |name: &str, content: &[u8]| (name.to_owned(), content.to_vec());
    Hub::start([
        file(".gitattributes", b"*.safetensors filter=lfs"),
        file("README.md", b"# A model"),
        file("config.json", b"{}"),
        file("generation_config.json", b"{\"temperature\": 1}"),
        file(WEIGHTS, &content(400_000)),
        file("model-q8_0.gguf", &content(50_000)),
        file("onnx/model.onnx", b"x"),
        file("original/model.safetensors", b"x"),
        file("pytorch_model.bin", b"x"),
        file("tokenizer.json", &content(20_000)),
        file("tokenizer_config.json", b"{\"a\": 1}"),
    ])
}

/// Bytes that differ from place to place.
pub(crate) fn content(length: u32) -> Vec<u8> {
    (0..length)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

fn lines(hub: &Hub) -> Vec<String> {
    hub.seen().into_iter().map(|seen| seen.line).collect()
}

#[test]
fn an_engine_gets_the_files_it_needs_and_asks_no_more_than_it_must() {
    let hub = hub();
    let machine = Machine::with_hub(&hub);
    let folder = machine.pulled(MODEL);
    assert_eq!(
        folder,
        machine.cache().join("hf").join(REPO).join(hub.commit())
    );
    let wanted = [
        ".candela.json",
        "config.json",
        "generation_config.json",
        WEIGHTS,
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(names(&folder), wanted);
    for name in &wanted[1..] {
        assert_eq!(
            std::fs::read(folder.join(name)).unwrap(),
            hub.file(name),
            "{name}"
        );
    }
    hub.seen();
    // The same again: only the commit is asked for.
    assert_eq!(machine.pulled(MODEL), folder);
    let revision = |name: &str| format!("GET /api/models/{REPO}/revision/{name}");
    assert_eq!(lines(&hub), [revision("main")]);
    assert_eq!(machine.pulled(&format!("{MODEL}@v1")), folder);
    assert_eq!(lines(&hub), [revision("v1")]);
    // A commit needs no asking.
    assert_eq!(machine.pulled(&format!("{MODEL}@{}", hub.commit())), folder);
    // Nor does a known branch where asking is forbidden.
    let machine = machine.set("HF_HUB_OFFLINE", "1");
    assert_eq!(machine.pulled(MODEL), folder);
    assert_eq!(lines(&hub), [""; 0]);
    let log = machine.refused(&format!("{MODEL}@other"));
    assert!(log.contains("HF_HUB_OFFLINE"), "{log}");
    let log = machine.refused(&format!("{MODEL}@{}", "0".repeat(40)));
    assert!(log.contains("HF_HUB_OFFLINE"), "{log}");
    assert_eq!(lines(&hub), [""; 0]);
}

#[test]
fn a_new_commit_is_fetched_and_the_old_one_stays() {
    let hub = hub();
    let machine = Machine::with_hub(&hub);
    let old = machine.pulled(MODEL);
    hub.put(WEIGHTS, &content(300_000));
    let new = machine.pulled(MODEL);
    assert_ne!(old, new);
    assert_eq!(std::fs::read(new.join(WEIGHTS)).unwrap(), hub.file(WEIGHTS));
    assert_eq!(std::fs::metadata(old.join(WEIGHTS)).unwrap().len(), 400_000);
}

#[test]
fn one_gguf_file_is_a_model() {
    let hub = hub();
    let machine = Machine::with_hub(&hub);
    let path = machine.pulled("hf://org/model/model-q8_0.gguf@main");
    assert_eq!(path.file_name().unwrap(), "model-q8_0.gguf");
    assert_eq!(std::fs::read(&path).unwrap(), hub.file("model-q8_0.gguf"));
    assert_eq!(
        names(path.parent().unwrap()),
        [".candela.json", "model-q8_0.gguf"]
    );
    let log = machine.refused("hf://org/model/model-q4_0.gguf");
    assert!(
        log.contains("no file model-q4_0.gguf (there are model-q8_0.gguf)"),
        "{log}"
    );
}

#[test]
fn a_model_in_several_files_is_the_files_of_its_index() {
    let hub = hub();
    let index = json!({"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors"}});
    hub.put("model.safetensors.index.json", index.to_string().as_bytes());
    hub.put("model-1.safetensors", &content(30_000));
    hub.put("model-2.safetensors", &content(40_000));
    let machine = Machine::with_hub(&hub);
    let folder = machine.pulled(MODEL);
    let weights: Vec<_> = names(&folder)
        .into_iter()
        .filter(|name| name.ends_with(".safetensors"))
        .collect();
    assert_eq!(weights, ["model-1.safetensors", "model-2.safetensors"]);
}

#[test]
fn a_gated_model_needs_a_token_which_nobody_else_sees() {
    const TOKEN: &str = "hf_verySecretToken";
    let hub = hub();
    hub.require_token(TOKEN);
    let machine = Machine::with_hub(&hub).set("CANDELA_LOG", "trace");
    let log = machine.refused(MODEL);
    assert!(log.contains("gated") && log.contains("HF_TOKEN"), "{log}");
    assert_eq!(hub.seen().len(), 1, "a refusal is not tried again");
    let machine = machine.set("HF_TOKEN", "hf_another");
    let log = machine.refused(MODEL);
    assert!(
        log.contains("check HF_TOKEN") && !log.contains("hf_another"),
        "{log}"
    );
    assert_eq!(hub.seen().len(), 1);

    let machine = machine.set("HF_TOKEN", TOKEN);
    let outcome = machine.pull(MODEL, &[]);
    assert!(outcome.status.success(), "{}", outcome.log);
    assert!(!outcome.log.contains("verySecret"), "{}", outcome.log);
    assert!(
        !outcome.log.contains("secret-of-storage"),
        "{}",
        outcome.log
    );
    let seen = hub.seen();
    for seen in &seen {
        assert_eq!(seen.with_token, !seen.line.contains("/blobs/"), "{seen:?}");
    }
    assert!(seen.iter().any(|seen| seen.line.contains("/blobs/")));

    let machine = Machine::with_hub(&hub);
    let path = machine.home().join("token");
    std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
    let machine = machine.set("HF_TOKEN_PATH", path.to_str().unwrap());
    machine.pulled(MODEL);
    std::fs::write(&path, "two words").unwrap();
    let log = machine.refused(MODEL);
    assert!(
        log.contains("HF_TOKEN_PATH") && !log.contains("two words"),
        "{log}"
    );
}

#[test]
fn what_is_not_there_is_said_once_and_at_once() {
    let hub = hub();
    let machine = Machine::with_hub(&hub);
    for (model, said) in [
        ("hf://org/other", "no such model, or it is private"),
        ("hf://org/model@v9", "Invalid rev id"),
    ] {
        let log = machine.refused(model);
        assert!(log.contains(said), "{log}");
        assert_eq!(hub.seen().len(), 1);
    }
    for (model, said) in [
        ("org/model", "give hf://org/model"),
        ("/nowhere", "nothing to download"),
        ("hf://gpt2", "hf://org/repo"),
    ] {
        let log = machine.refused(model);
        assert!(log.contains(said), "{log}");
    }
    let machine = machine.set("HF_ENDPOINT", "http://203.0.113.1");
    let log = machine.refused(MODEL);
    assert!(log.contains("--download-plain-http"), "{log}");
    let machine = machine.set("HF_ENDPOINT", "ftp://hub");
    assert!(machine.refused(MODEL).contains("HF_ENDPOINT: ftp://hub"));
}

#[test]
fn a_listing_that_lies_is_refused() {
    let hub = hub();
    let machine = Machine::with_hub(&hub);
    let entry = |name: &str, size: u64| json!({"type": "file", "path": name, "size": size});
    let needed = [entry("config.json", 2), entry("tokenizer.json", 20_000)];
    let with = |more: serde_json::Value| json!([needed[0], needed[1], more]);
    for name in ["../../x", "/etc/passwd", "a/../../b"] {
        hub.set_listing(with(entry(name, 1)));
        let log = machine.refused(MODEL);
        assert!(log.contains("not a name inside a folder"), "{log}");
    }
    hub.set_listing(json!({"not": "a listing"}));
    assert!(machine.refused(MODEL).contains("not an answer we can use"));
    hub.set_listing(json!(needed));
    assert!(machine.refused(MODEL).contains("neither *.safetensors nor"));
    // Asking comes before writing: nothing of these is on the disk.
    assert!(!machine.home().join("x").exists());

    hub.set_listing(with(entry(WEIGHTS, 1 << 60)));
    let log = machine.refused(MODEL);
    assert!(log.contains("too full: 1.15 EB more are needed"), "{log}");
    assert_eq!(hub.served(WEIGHTS), 0);
}
