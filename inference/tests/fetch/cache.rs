//! What the cache does with damage, with a hub that is gone, and with a disk that is full.

use std::{fs, fs::File, path::PathBuf, process::Command};

use candela_flags::{PullFailure, PullReport};

use crate::{
    hub::{Fault, Hub},
    hub_pull::{MODEL, WEIGHTS, hub},
    program::{ENGINE, Machine, length, until},
};

#[test]
fn a_damaged_file_is_named_and_fetched_again_alone() {
    let hub = hub();
    let machine = Machine::with_hub(&hub);
    let path = machine.pulled(MODEL).join(WEIGHTS);
    let served = |hub: &Hub| (hub.served(WEIGHTS), hub.served("tokenizer.json"));
    assert_eq!(served(&hub), (400_000, 20_000));
    // Too short: every start sees it.
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(100)
        .unwrap();
    let offline = machine
        .command(&["pull", MODEL])
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    let log = String::from_utf8(offline.stderr).unwrap();
    assert!(
        !offline.status.success() && log.contains("100 bytes long"),
        "{log}"
    );
    let outcome = machine.pull(MODEL, &[]);
    assert!(outcome.status.success(), "{}", outcome.log);
    assert!(
        outcome.log.contains(&format!("{}", path.display())),
        "{}",
        outcome.log
    );
    assert_eq!(served(&hub), (800_000, 20_000));
    assert_eq!(fs::read(&path).unwrap(), hub.file(WEIGHTS));
    // Rotten below the file system: seen by who reads everything.
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let mut rotten = hub.file(WEIGHTS).to_vec();
    rotten[1234] ^= 1;
    fs::write(&path, rotten).unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    machine.pulled(MODEL);
    assert_eq!(served(&hub), (800_000, 20_000));
    let outcome = machine.pull(MODEL, &["--verify"]);
    assert!(outcome.status.success(), "{}", outcome.log);
    assert!(outcome.log.contains("its SHA-256 is"), "{}", outcome.log);
    assert_eq!(served(&hub), (1_200_000, 20_000));
    assert_eq!(fs::read(&path).unwrap(), hub.file(WEIGHTS));
}

#[test]
fn a_hub_that_is_gone_does_not_stop_what_is_in_the_cache() {
    let hub = hub();
    let machine = Machine::with_hub(&hub);
    let folder = machine.pulled(MODEL);
    // A port that was free a moment ago answers nobody.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let machine = machine.set("HF_ENDPOINT", &endpoint);
    let outcome = machine.pull(MODEL, &[]);
    assert!(outcome.status.success(), "{}", outcome.log);
    assert_eq!(outcome.stdout.trim(), folder.to_str().unwrap());
    assert!(
        outcome
            .log
            .contains("going on with what main was last time"),
        "{}",
        outcome.log
    );
}

/// Whether a process may have a disk of its own here.
fn has_namespaces() -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--mount", "true"]);
    unshare.output().is_ok_and(|done| done.status.success())
}

#[test]
fn a_disk_that_fills_up_is_said_and_what_came_is_kept() {
    if !has_namespaces() {
        assert!(std::env::var_os("CI").is_none(), "unshare must work in CI");
        eprintln!("skipped: unshare makes no user and mount namespace here");
        return;
    }
    let hub = hub();
    hub.fail(WEIGHTS, &[Fault::Stall(100_000)]);
    let machine = Machine::with_hub(&hub);
    let disk = machine.home().join("disk");
    fs::create_dir(&disk).unwrap();
    // A small disk of its own, in a mount namespace that ends with the program.
    let script =
        "mount -t tmpfs -o size=4m tmpfs \"$1\" && exec \"$2\" pull \"$3\" --download-dir=\"$1\"";
    let child = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .args([disk.as_os_str(), ENGINE.as_ref(), MODEL.as_ref()])
        .env("HF_ENDPOINT", hub.endpoint())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let inside = format!("/proc/{}/root{}", child.id(), disk.display());
    let partial = format!(
        "{inside}/hf/org/model/{}.incomplete/{WEIGHTS}.incomplete",
        hub.commit()
    );
    let running = crate::program::Running(child);
    until("a part is here", || length(partial.as_ref()) == 100_000);
    // Somebody else takes the rest of the disk.
    let filler = File::create(format!("{inside}/filler")).unwrap();
    let mut free = 4 << 20;
    while free >= 4096 {
        use std::io::Write;
        match (&filler).write_all(&vec![0; free]) {
            Ok(()) => {}
            Err(_) => free /= 2,
        }
    }
    hub.release();
    let outcome = running.end();
    assert_eq!(outcome.status.code(), Some(1), "{}", outcome.log);
    assert!(
        outcome.log.contains("the disk is too full") && outcome.log.contains("are free"),
        "{}",
        outcome.log
    );
}

/// What Kubernetes' init containers are run with: a name that stays, and a report for whoever started it.
#[test]
fn a_pull_links_the_model_and_reports_what_came_of_it() {
    let hub = hub();
    let machine = Machine::with_hub(&hub);
    let (link, report) = (
        machine.home().join("current"),
        machine.home().join("report"),
    );
    let args = [
        format!("--link={}", link.display()),
        format!("--report={}", report.display()),
    ];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let pulled = |args: &[&str]| {
        let outcome = machine.pull(MODEL, args);
        let report = fs::read_to_string(&report).unwrap();
        (outcome, PullReport::of_line(&report).unwrap())
    };
    for _ in 0..2 {
        let (outcome, report) = pulled(&args);
        assert!(outcome.status.success(), "{}", outcome.log);
        let model = PathBuf::from(outcome.stdout.trim());
        assert_eq!(link.canonicalize().unwrap(), model.canonicalize().unwrap());
        let found = report.pulled.unwrap();
        assert_eq!(report.model, MODEL);
        assert!(model.ends_with(&found.version), "{found:?}");
        let bytes: u64 = fs::read_dir(&model)
            .unwrap()
            .map(|file| file.unwrap())
            .filter(|file| file.file_name() != ".candela.json")
            .map(|file| file.metadata().unwrap().len())
            .sum();
        assert_eq!(found.bytes, bytes);
        assert_eq!(report.failed, None);
    }
    let outcome = machine.pull("hf://org/model@absent", &args);
    assert_eq!(outcome.status.code(), Some(1));
    let failed = PullReport::of_line(&fs::read_to_string(&report).unwrap()).unwrap();
    let failed = failed.failed.unwrap();
    assert_eq!(failed.kind, PullFailure::NotFound, "{failed:?}");
    assert!(outcome.log.contains(&failed.message), "{}", outcome.log);
    assert!(link.exists(), "the model of before is still there");
}
