//! Holds the house: who may import whom, and what every source file looks like. It reads the sources,
//! and fails on a breach with the file that breaks the rule.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use syn::{UseTree, visit::Visit};

const LINES_MAX: usize = 600;

/// A part of the engine, and what of ours and of others it may not, or may only, import.
struct Rule {
    /// Modules or files below `inference/src`.
    part: &'static str,
    /// The only modules of the crate it may import, besides itself. A longer path narrows.
    ours: &'static [&'static str],
    /// Crates it never imports.
    never: &'static [&'static str],
}

const WIRE: &[&str] = &[
    "axum",
    "hyper",
    "hyper_util",
    "serde_json",
    "tokenizers",
    "candle_core",
];
const ALL: &[&str] = &[
    "engine",
    "fetch",
    "finish_reason",
    "grammar",
    "inspect",
    "math",
    "model",
    "openai",
    "prompt",
    "request",
    "sampling",
    "stats",
];

const RULES: &[Rule] = &[
    Rule {
        part: "finish_reason.rs",
        ours: &[],
        never: WIRE,
    },
    Rule {
        part: "openai",
        ours: &["finish_reason"],
        never: &["axum", "candle_core"],
    },
    Rule {
        part: "stats",
        ours: &["finish_reason"],
        never: &["axum", "tokenizers", "candle_core"],
    },
    Rule {
        part: "math.rs",
        ours: &[],
        never: WIRE,
    },
    Rule {
        part: "sampling",
        ours: &["math"],
        never: &["axum", "serde_json", "tokenizers"],
    },
    Rule {
        part: "grammar",
        ours: &["engine", "prompt::TokenBytes", "sampling", "stats"],
        never: &["axum", "hyper", "tokenizers", "candle_core"],
    },
    Rule {
        part: "engine",
        ours: &["finish_reason", "sampling", "stats", "model::runner"],
        never: WIRE,
    },
    Rule {
        part: "fetch",
        ours: &[],
        never: &[
            "axum",
            "candela_flags",
            "candle_core",
            "hyper",
            "tokenizers",
        ],
    },
    Rule {
        part: "inspect.rs",
        ours: &["model"],
        never: &["axum", "hyper", "tokenizers", "candle_core"],
    },
    Rule {
        part: "model/runner.rs",
        ours: &["sampling"],
        never: WIRE,
    },
    Rule {
        part: "model",
        ours: &["math", "sampling", "model"],
        never: &["axum", "hyper", "tokenizers", "kube"],
    },
    Rule {
        part: "prompt",
        ours: &["engine", "finish_reason", "openai", "sampling"],
        never: &["axum", "hyper", "candle_core"],
    },
    Rule {
        part: "request",
        ours: &[
            "engine",
            "finish_reason",
            "grammar",
            "openai",
            "prompt",
            "sampling",
            "stats",
        ],
        never: &["hyper", "candle_core"],
    },
    Rule {
        part: "server",
        ours: ALL,
        never: &["candle_core", "tokenizers"],
    },
];

#[test]
fn parts_of_the_engine_import_what_they_may() {
    let source = root().join("inference/src");
    let mut breaches = Vec::new();
    for rule in RULES {
        let own = rule
            .part
            .split(['/', '.'])
            .next()
            .expect("a part has a name");
        let files = rust_files(&source.join(rule.part));
        assert!(!files.is_empty(), "no files for the rule of {}", rule.part);
        for file in files.iter().filter(|file| !is_test(file)) {
            for import in imports(file) {
                let breach = match import.strip_prefix("crate::") {
                    Some(ours) => {
                        !within(ours, own) && !rule.ours.iter().any(|may| within(ours, may))
                    }
                    None => rule.never.iter().any(|never| within(&import, never)),
                };
                if breach {
                    breaches.push(format!("{} imports {import}", file.display()));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn crates_depend_on_what_they_may() {
    for (package, never) in [
        (
            "candela-engine",
            &["kube", "kube-core", "k8s-openapi", "candela-crds", "cudarc"][..],
        ),
        (
            "candela-cuda",
            &["candela-engine", "candela-crds", "cudarc"],
        ),
        (
            "candela-crds",
            &["candela-engine", "candela-operator", "candle-core", "tokio"],
        ),
        (
            "candela-operator",
            &["candela-engine", "candle-core", "tokenizers"],
        ),
        (
            "candela-flags",
            &["candela-engine", "candela-crds", "kube-core", "tokio"],
        ),
    ] {
        let tree = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--offline",
                "--locked",
                "-e",
                "normal",
                "--prefix",
                "none",
            ])
            .args(["-p", package])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        assert!(
            tree.status.success(),
            "{}",
            String::from_utf8_lossy(&tree.stderr)
        );
        let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
        let names: BTreeSet<&str> = tree
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        let found: Vec<_> = never.iter().filter(|name| names.contains(**name)).collect();
        assert!(found.is_empty(), "{package} depends on {found:?}");
    }
}

#[test]
fn every_file_says_what_lives_in_it_and_can_be_held_in_the_head() {
    let mut breaches = Vec::new();
    for folder in ["crds", "inference", "operator", "tests"] {
        for file in rust_files(&root().join(folder)) {
            let text = fs::read_to_string(&file).expect("sources are readable");
            if !text.starts_with("//!") && !text.starts_with("#!") {
                breaches.push(format!("{}: does not open with //!", file.display()));
            }
            let lines = text.lines().count();
            if lines > LINES_MAX {
                breaches.push(format!(
                    "{}: {lines} lines, at most {LINES_MAX}",
                    file.display()
                ));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `path` is `scope`, or below it.
fn within(path: &str, scope: &str) -> bool {
    path.strip_prefix(scope)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn is_test(file: &Path) -> bool {
    let name = file
        .file_stem()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    name == "tests" || name.ends_with("_tests") || name.starts_with("test_")
}

/// The Rust files at or below a path.
fn rust_files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).expect("folders of the layout exist") {
        let path = entry.expect("folders are readable").path();
        let skipped = path
            .file_name()
            .is_some_and(|name| name == "target" || name == "models");
        if path.is_dir() && !skipped {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Every path that a file names, outside its tests: of `use` items, and written out in code.
fn imports(file: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(file).expect("sources are readable");
    let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let mut found = Imports::default();
    found.visit_file(&parsed);
    found.0
}

#[derive(Default)]
struct Imports(BTreeSet<String>);

impl Imports {
    fn tree(&mut self, prefix: &str, tree: &UseTree) {
        let join = |name: String| {
            if prefix.is_empty() {
                name
            } else {
                format!("{prefix}::{name}")
            }
        };
        match tree {
            UseTree::Path(path) => self.tree(&join(path.ident.to_string()), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(prefix, tree)),
            UseTree::Name(name) => drop(self.0.insert(join(name.ident.to_string()))),
            UseTree::Rename(name) => drop(self.0.insert(join(name.ident.to_string()))),
            UseTree::Glob(_) => drop(self.0.insert(prefix.to_owned())),
        }
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree("", &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            let names: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
            self.0.insert(names.join("::"));
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.ident != "tests" {
            syn::visit::visit_item_mod(self, module);
        }
    }
}
