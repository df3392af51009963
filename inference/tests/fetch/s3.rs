//! `s3://`: signatures, prefixes, continued and damaged downloads, changes.

use std::fs;

use http::Response;
use http_body_util::{BodyExt, Empty};

use crate::{
    bucket::{ACCESS_KEY, Bucket, SECRET_KEY},
    hub_pull::{WEIGHTS, content},
    net,
    program::{Machine, length, names},
};

const MODEL: &str = "s3://models/team/m";

fn bucket() -> Bucket {
    let bucket = Bucket::start();
    for (key, content) in [
        ("team/m/config.json", b"{}".to_vec()),
        ("team/m/tokenizer.json", content(20_000)),
        ("team/m/model.safetensors", content(3_000_000)),
        ("team/m/README.md", b"x".to_vec()),
        ("team/m/modules.json", b"[]".to_vec()),
        ("team/m/1_Pooling/config.json", b"{}".to_vec()),
        ("team/m/1_Pooling/README.md", b"x".to_vec()),
        ("team/m/sub/model.safetensors", b"x".to_vec()),
        ("team/m2/config.json", b"x".to_vec()),
        ("one/m.gguf", content(50_000)),
        ("empty/README.md", b"x".to_vec()),
    ] {
        bucket.put(key, &content);
    }
    bucket
}

fn machine(bucket: &Bucket) -> Machine {
    without_keys(bucket)
        .set("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .set("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
}

fn without_keys(bucket: &Bucket) -> Machine {
    Machine::new()
        .set("AWS_ENDPOINT_URL", &format!("http://{}", bucket.address))
        .set("AWS_REGION", "eu-central-1")
        .set("CANDELA_LOG", "debug")
}

#[test]
fn a_prefix_of_a_bucket_is_a_model() {
    let bucket = bucket();
    let machine = machine(&bucket);
    let folder = machine.pulled(MODEL);
    let wanted = [
        ".candela.json",
        "1_Pooling",
        "config.json",
        WEIGHTS,
        "modules.json",
        "tokenizer.json",
    ];
    assert_eq!(names(&folder), wanted);
    assert_eq!(names(&folder.join("1_Pooling")), ["config.json"]);
    assert_eq!(fs::read(folder.join(WEIGHTS)).unwrap(), content(3_000_000));
    bucket.behaviour.lock().unwrap().starts.clear();
    assert_eq!(machine.pulled("s3://models/team/m/"), folder);
    assert!(bucket.behaviour.lock().unwrap().starts.is_empty());
    // What an engine does not read does not matter; what it reads is another model.
    bucket.put("team/m/README.md", b"other");
    assert_eq!(machine.pulled(MODEL), folder);
    bucket.put("team/m/model.safetensors", &content(100));
    let changed = machine.pulled(MODEL);
    assert_ne!(changed, folder);
    assert_eq!(length(&changed.join(WEIGHTS)), 100);
    let file = machine.pulled("s3://models/one/m.gguf");
    assert_eq!(fs::read(&file).unwrap(), content(50_000));
    let only = machine.pulled("s3://models/one");
    assert_eq!(fs::read(&only).unwrap(), content(50_000));
    assert_ne!(only, file);
}

#[test]
fn who_may_not_read_is_told_so_and_no_secret_is_shown() {
    let bucket = bucket();
    for (name, value) in [
        ("AWS_SECRET_ACCESS_KEY", "wrong/secret"),
        ("AWS_ACCESS_KEY_ID", "AKIAOTHER"),
        ("AWS_SKIP_SIGNATURE", "true"),
    ] {
        let log = machine(&bucket).set(name, value).refused(MODEL);
        assert!(log.contains("check AWS_ACCESS_KEY_ID"), "{log}");
        assert!(!log.contains("secret"), "{log}");
    }
    let log = machine(&bucket).refused("s3://models/nothing");
    assert!(log.contains("no objects below this prefix"), "{log}");
    let log = machine(&bucket).refused("s3://models/empty");
    assert!(log.contains("neither *.safetensors nor *.gguf"), "{log}");
    let log = machine(&bucket).refused("s3://other/m");
    assert!(log.contains("s3://other/m: "), "{log}");
    let log = machine(&bucket)
        .set("AWS_ENDPOINT_URL", "http://203.0.113.1")
        .refused(MODEL);
    assert!(log.contains("http"), "{log}");
}

#[test]
fn without_credentials_the_remedy_comes_soon() {
    let bucket = bucket();
    // A port that nobody listens on, and a service that knows no role.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    let no_role = net::serve(|_| async {
        let mut answer = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
        *answer.status_mut() = http::StatusCode::NOT_FOUND;
        answer
    });
    for metadata in [nobody, no_role] {
        let log = without_keys(&bucket)
            .set("AWS_METADATA_ENDPOINT", &format!("http://{metadata}"))
            .refused(MODEL);
        assert!(log.contains("there are no credentials"), "{log}");
        assert!(log.contains("AWS_SKIP_SIGNATURE=true"), "{log}");
        assert!(!log.contains("trying again"), "{log}");
    }
}

#[test]
fn a_download_that_breaks_off_goes_on() {
    let bucket = bucket();
    let machine = machine(&bucket);
    bucket
        .behaviour
        .lock()
        .unwrap()
        .cuts
        .extend([1 << 20, 1 << 20, 1 << 20, 1 << 20]);
    let folder = machine.pulled(MODEL);
    assert_eq!(fs::read(folder.join(WEIGHTS)).unwrap(), content(3_000_000));
    let behaviour = bucket.behaviour.lock().unwrap();
    assert!(
        behaviour.starts.iter().any(|(_, start)| *start > 0),
        "{:?}",
        behaviour.starts
    );
}

#[test]
fn an_entity_tag_is_held_against_the_content_where_it_is_a_checksum() {
    for (in_pieces, by_key) in [(true, false), (false, true)] {
        let bucket = bucket();
        {
            let mut behaviour = bucket.behaviour.lock().unwrap();
            (behaviour.in_pieces, behaviour.by_key) = (in_pieces, by_key);
        }
        let machine = machine(&bucket);
        let outcome = machine.pull(MODEL, &[]);
        assert!(outcome.status.success(), "{}", outcome.log);
        assert!(!outcome.log.contains("damaged"), "{}", outcome.log);
    }
    // What another start left of another object is found out by the checksum of the whole.
    let bucket = bucket();
    let machine = machine(&bucket);
    let folder = machine.pulled(MODEL);
    let staging = folder.with_extension("incomplete");
    fs::rename(&folder, &staging).unwrap();
    fs::remove_file(staging.join(WEIGHTS)).unwrap();
    fs::write(
        staging.join(format!("{WEIGHTS}.incomplete")),
        vec![0; 1_000_000],
    )
    .unwrap();
    let outcome = machine.pull(MODEL, &[]);
    assert!(outcome.status.success(), "{}", outcome.log);
    assert!(
        outcome
            .log
            .contains("model.safetensors: arrived damaged 1 times: its MD5"),
        "{}",
        outcome.log
    );
    assert_eq!(fs::read(folder.join(WEIGHTS)).unwrap(), content(3_000_000));
}
