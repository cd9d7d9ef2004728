//! Style as a test: the crate graph, sizes, leftovers, and what the documents say of the code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest source file, without its tests.
const FILE_LINES_MAX: usize = 600;
/// Longest function.
const FUNCTION_LINES_MAX: usize = 70;
/// Longest line of Rust that is not one unbreakable string.
const LINE_COLUMNS_MAX: usize = 100;

/// Which of our crates each crate may use, tests aside. Left to right in `ARCHITECTURE.md`.
const GRAPH: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("base", &["proto"]),
    ("wal", &["base", "proto"]),
    ("snapshot", &["base", "proto"]),
    ("backend", &["base", "snapshot"]),
    ("mvcc", &["backend", "base", "proto"]),
    ("raftnode", &["base", "proto", "wal"]),
    ("rafthttp", &["base", "proto"]),
    ("apply", &["backend", "base", "mvcc", "proto"]),
    ("tls", &["base"]),
    ("client", &["base", "proto", "tls"]),
    (
        "server",
        &[
            "apply", "backend", "base", "mvcc", "proto", "rafthttp", "raftnode", "snapshot", "tls",
            "wal",
        ],
    ),
    ("etcdctl", &["base", "client", "proto", "snapshot"]),
    ("etcdutl", &["apply", "backend", "base", "mvcc", "proto", "snapshot", "wal"]),
    ("bench", &["base", "client", "proto"]),
    ("integration-tests", &["base", "client", "proto", "wal"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("workspace root").to_path_buf()
}

/// Every file git knows of or would add, below the root.
fn files(suffix: &str) -> Vec<PathBuf> {
    let out = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git ls-files");
    assert!(out.status.success(), "git ls-files: {}", String::from_utf8_lossy(&out.stderr));
    let mut found: Vec<PathBuf> = String::from_utf8(out.stdout)
        .expect("paths are UTF-8")
        .lines()
        .filter(|path| path.ends_with(suffix))
        .map(|path| root().join(path))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.dedup();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()))
}

fn is_test_file(path: &Path) -> bool {
    let relative = path.strip_prefix(root()).expect("below the root");
    relative.components().any(|part| {
        let part = part.as_os_str().to_string_lossy();
        part == "tests" || part == "tests.rs" || part == "integration-tests"
    })
}

/// The lines before the first `#[cfg(test)]` item at column 0.
fn without_tests(text: &str) -> Vec<&str> {
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).collect()
}

#[test]
fn crates_use_only_what_stands_to_their_left() {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo metadata");
    assert!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let ours: BTreeSet<&str> = GRAPH.iter().map(|(name, _)| *name).collect();
    let mut seen = BTreeSet::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("name");
        let (name, allowed) =
            GRAPH.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("new crate {name}"));
        seen.insert(*name);
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let used = dependency["name"].as_str().expect("name");
            if ours.contains(used) && dependency["kind"].is_null() {
                assert!(allowed.contains(&used), "{name} must not use {used}");
            }
        }
    }
    assert_eq!(seen, ours);
}

#[test]
fn source_files_fit_in_the_head() {
    let mut long = Vec::new();
    for path in files(".rs") {
        if is_test_file(&path) {
            continue;
        }
        let lines = without_tests(&read(&path)).len();
        if lines > FILE_LINES_MAX {
            long.push(format!("{}: {lines} lines", path.display()));
        }
    }
    assert!(long.is_empty(), "over {FILE_LINES_MAX} lines without tests:\n{}", long.join("\n"));
}

#[test]
fn functions_fit_on_a_screen() {
    let mut long = Vec::new();
    for path in files(".rs") {
        if is_test_file(&path) {
            continue;
        }
        let text = read(&path);
        let mut open: Option<(usize, usize, String)> = None;
        for (number, line) in without_tests(&text).into_iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let head = line.trim_start();
            match &open {
                None => {
                    let words = ["fn ", "pub fn ", "pub(crate) fn ", "async fn ", "pub async fn "];
                    let words = words.iter().chain(&["pub(super) fn ", "pub(crate) async fn "]);
                    if words.into_iter().any(|w| head.starts_with(w)) && !head.ends_with(';') {
                        open = Some((indent, number, head.to_owned()));
                    }
                }
                Some((at, start, name)) => {
                    if indent == *at && (head == "}" || head.ends_with(';')) {
                        let lines = number - start + 1;
                        // A function that is one table (match or list) is as long as its table.
                        let body: Vec<&str> = text.lines().skip(*start).take(lines).collect();
                        if lines > FUNCTION_LINES_MAX && !is_table(&body) {
                            long.push(format!("{}:{}: {lines}: {name}", path.display(), start + 1));
                        }
                        open = None;
                    }
                }
            }
        }
    }
    assert!(long.is_empty(), "over {FUNCTION_LINES_MAX} lines:\n{}", long.join("\n"));
}

/// Whether most lines are match arms, table rows or field lists.
fn is_table(body: &[&str]) -> bool {
    let rows = body
        .iter()
        .filter(|line| {
            let line = line.trim();
            line.contains("=>")
                || line.ends_with("),")
                || line.ends_with("},")
                || line.ends_with(',')
        })
        .count();
    rows * 2 > body.len()
}

#[test]
fn lines_fit_the_width() {
    let mut wide = Vec::new();
    for path in files(".rs") {
        for (number, line) in read(&path).lines().enumerate() {
            if line.chars().count() > LINE_COLUMNS_MAX && !line.contains('"') {
                wide.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert!(wide.is_empty(), "over {LINE_COLUMNS_MAX} columns:\n{}", wide.join("\n"));
}

#[test]
fn nothing_is_left_lying_around() {
    // Spelled in two halves so that this list does not find itself.
    let words: Vec<String> =
        [("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("un", "implemented!"), ("to", "do!")]
            .iter()
            .map(|(a, b)| format!("{a}{b}"))
            .collect();
    let ignored = format!("#[{}", "ignore");
    let mut found = Vec::new();
    for path in files(".rs") {
        for (number, line) in read(&path).lines().enumerate() {
            let word = words.iter().any(|w| line.contains(w.as_str()));
            if word || line.contains(&ignored) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "left over:\n{}", found.join("\n"));
}

#[test]
fn unsafe_code_is_forbidden_in_every_crate() {
    for (name, _) in GRAPH {
        let mut heads = 0;
        for head in ["src/lib.rs", "src/main.rs"] {
            let path = root().join(name).join(head);
            if path.exists() {
                heads += 1;
                assert!(
                    read(&path).contains("#![forbid(unsafe_code)]"),
                    "{} lacks #![forbid(unsafe_code)]",
                    path.display()
                );
            }
        }
        assert!(heads > 0, "{name} has neither lib.rs nor main.rs");
    }
}

#[test]
fn architecture_names_every_crate_and_cites_only_what_exists() {
    let text = read(&root().join("ARCHITECTURE.md"));
    for (name, _) in GRAPH {
        assert!(text.contains(&format!("`{name}`")), "ARCHITECTURE.md does not name `{name}`");
    }
    for document in ["ARCHITECTURE.md", "README.md", "COMPAT.md", "CONTRIBUTING.md"] {
        for cited in cited_paths(&read(&root().join(document))) {
            assert!(root().join(&cited).exists(), "{document} cites {cited}, which is not there");
        }
    }
}

/// Back-quoted words that look like a path of this repository.
fn cited_paths(text: &str) -> BTreeSet<String> {
    let crates: BTreeMap<&str, ()> = GRAPH.iter().map(|(name, _)| (*name, ())).collect();
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| {
            let first = word.split('/').next().unwrap_or_default();
            word.contains('/')
                && !word.contains(|c: char| c.is_whitespace() || "*{<$".contains(c))
                && (crates.contains_key(first) || ["docs", "deploy", "scripts"].contains(&first))
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn threads_named_in_the_code_are_in_the_architecture() {
    let text = read(&root().join("ARCHITECTURE.md"));
    for path in files(".rs") {
        if is_test_file(&path) || path.starts_with(root().join("bench")) {
            continue;
        }
        for line in without_tests(&read(&path)) {
            // `Builder::new().name("raft".into())`: the literal after `.name(`.
            if let Some(rest) = line.split(".name(\"").nth(1) {
                let name = rest.split('"').next().unwrap_or_default();
                assert!(
                    text.contains(&format!("`{name}`")),
                    "{}: thread {name} is not in ARCHITECTURE.md",
                    path.display()
                );
            }
        }
    }
}
