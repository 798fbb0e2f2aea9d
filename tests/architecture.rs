//! The picture of `src/lib.rs` stays true: which module may use which, and where time, randomness, tasks and the
//! environment may be asked for. Reads the sources as text, so that a violation is named by file and line.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Modules of the root crate and the modules of it that each may use. A module may always use itself.
const ARROWS: &[(&str, &[&str])] = &[
    // Pure values.
    ("sync", &[]),
    ("clock", &[]),
    ("key", &[]),
    ("version", &["sync"]),
    ("offsets", &["clock", "sync"]),
    ("trace", &[]),
    // Only with the feature of its name.
    ("planted", &[]),
    ("slot_set", &["key"]),
    ("store", &["key", "planted", "slot_set", "version", "sync"]),
    ("ring", &["key", "clock", "slot_set"]),
    (
        "operation",
        &["clock", "key", "ring", "store", "trace", "version"],
    ),
    // The asynchronous shell.
    ("workers", &["clock"]),
    ("telemetry", &["clock", "sync", "trace"]),
    ("config", &["version"]),
    (
        "replica",
        &[
            "clock",
            "key",
            "operation",
            "ring",
            "store",
            "telemetry",
            "trace",
            "version",
        ],
    ),
    (
        "transport",
        &[
            "clock",
            "key",
            "offsets",
            "operation",
            "replica",
            "ring",
            "slot_set",
            "store",
            "sync",
            "telemetry",
            "trace",
            "version",
            "workers",
        ],
    ),
    (
        "handoff",
        &[
            "clock",
            "key",
            "planted",
            "replica",
            "ring",
            "slot_set",
            "store",
            "sync",
            "telemetry",
            "trace",
            "transport",
            "version",
        ],
    ),
    (
        "repair",
        &[
            "clock",
            "handoff",
            "key",
            "planted",
            "replica",
            "ring",
            "slot_set",
            "store",
            "sync",
            "telemetry",
            "transport",
        ],
    ),
    (
        "coordinator",
        &[
            "clock",
            "handoff",
            "key",
            "offsets",
            "operation",
            "planted",
            "ring",
            "slot_set",
            "store",
            "sync",
            "telemetry",
            "trace",
            "transport",
            "version",
        ],
    ),
    ("overload", &["clock", "sync"]),
    (
        "api",
        &[
            // `store` for the form of a value and for slot sets, `handoff` for records on the wire.
            "clock",
            "coordinator",
            "handoff",
            "key",
            "offsets",
            "operation",
            "overload",
            "replica",
            "store",
            "telemetry",
            "trace",
            "transport",
            "version",
            "workers",
        ],
    ),
    (
        "http",
        &[
            "api",
            "clock",
            "config",
            "coordinator",
            "documents",
            "key",
            "profiles",
            "store",
            "telemetry",
            "version",
            "workers",
        ],
    ),
    (
        "node",
        &[
            "api",
            "clock",
            "config",
            "coordinator",
            "handoff",
            "http",
            "key",
            "offsets",
            "operation",
            "overload",
            "repair",
            "replica",
            "ring",
            "store",
            "telemetry",
            "transport",
            "version",
            "workers",
        ],
    ),
    ("documents", &[]),
    ("profiles", &["workers"]),
    (
        "cli",
        &[
            "clock",
            "config",
            "documents",
            "node",
            "planted",
            "telemetry",
        ],
    ),
];

/// Crates that pure modules must not see, whatever the reason.
const SHELL_CRATES: &[&str] = &["tokio", "tonic", "axum", "hyper_util", "http", "foca"];
const PURE: &[&str] = &[
    "store",
    "version",
    "offsets",
    "ring",
    "key",
    "operation",
    "sync",
    "trace",
];
const PURE_FILES: &[&str] = &[
    "src/coordinator/quorum.rs",
    "src/coordinator/pending.rs",
    "src/coordinator/request.rs",
    "src/coordinator/explanation.rs",
    "src/handoff/backoff.rs",
    "src/handoff/hints.rs",
    "src/handoff/hints/queue.rs",
    "src/overload/control.rs",
    "src/overload/memory.rs",
    "src/overload/meter.rs",
    "src/transport/link.rs",
    "membership/src/view.rs",
    "membership/src/record.rs",
    "membership/src/timers.rs",
];

/// Calls that ask the system, and the files that are the seams where they are allowed.
const BANNED: &[(&str, &[&str])] = &[
    (
        "Instant::now",
        // A sweep measures its own speed.
        &[
            "src/clock.rs",
            "membership/src/driver.rs",
            "sim/model/src/main.rs",
            "sim/src/cli/mutants.rs",
            "sim/src/cli/pace.rs",
            "sim/src/cli/sweep.rs",
        ],
    ),
    (
        "SystemTime::now",
        &["src/clock.rs", "membership/src/driver.rs"],
    ),
    (
        "tokio::time::",
        &["src/clock.rs", "membership/src/driver.rs"],
    ),
    ("tokio::spawn", &[]),
    ("spawn_blocking", &["src/workers.rs"]),
    ("rand::rng()", &[]),
    ("rand::random", &[]),
    ("env::var", &["src/config/environment.rs"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust sources of the node below a folder, by path relative to the repository, without test modules.
fn sources(folder: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a source folder can be read") {
            let path = entry.expect("a folder entry can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = relative(&path);
                if !name.contains("test") {
                    let text = fs::read_to_string(&path).expect("a source can be read");
                    found.insert(name, without_tests(&text));
                }
            }
        }
    }
    found
}

/// Everything that runs under simulation, the simulator, and the model.
fn all_sources() -> impl Iterator<Item = (String, String)> {
    ["src", "membership/src", "sim/src", "sim/model/src"]
        .into_iter()
        .flat_map(sources)
}

fn relative(path: &Path) -> String {
    let path = path
        .strip_prefix(root())
        .expect("sources are below the root");
    path.to_string_lossy().into_owned()
}

/// Cuts the test module off and blanks comments, keeping line numbers.
fn without_tests(text: &str) -> String {
    let code = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text);
    let blank = |line: &str| match line.split_once("//") {
        Some((code, _comment)) => code.to_owned(),
        None => line.to_owned(),
    };
    code.lines().map(blank).collect::<Vec<_>>().join("\n")
}

/// The module of the root crate that a file belongs to.
fn module_of(file: &str) -> Option<&str> {
    let rest = file.strip_prefix("src/")?;
    let first = rest.split('/').next()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(name, "lib" | "main")).then_some(name)
}

/// The modules that a source names after `crate::`, also in grouped imports.
fn used_modules(text: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let mut rest = text;
    while let Some(at) = rest.find("crate::") {
        rest = &rest[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            used.extend(top_level_names(group));
        } else {
            used.insert(leading_name(rest));
        }
    }
    used
}

/// The first path segment of each item of a `{a::b, c, d::{e, f}}` group, given what follows its brace.
fn top_level_names(group: &str) -> Vec<String> {
    let (mut names, mut depth, mut item) = (Vec::new(), 0, String::new());
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(leading_name(std::mem::take(&mut item).trim())),
            other => item.push(other),
        }
    }
    names.push(leading_name(item.trim()));
    names.retain(|name| !name.is_empty());
    names
}

fn leading_name(path: &str) -> String {
    path.chars()
        .take_while(|character| character.is_alphanumeric() || *character == '_')
        .collect()
}

#[test]
fn every_module_uses_only_what_lies_below_it() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut violations = Vec::new();
    for (file, text) in sources("src") {
        let Some(module) = module_of(&file) else {
            continue;
        };
        let Some(allowed) = arrows.get(module) else {
            violations.push(format!("{file}: module {module} is not in the picture"));
            continue;
        };
        for used in used_modules(&text) {
            let known = arrows.contains_key(used.as_str());
            if known && used != module && !allowed.contains(&used.as_str()) {
                violations.push(format!("{file}: {module} must not use {used}"));
            }
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn the_arrows_have_no_cycle() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut below: BTreeSet<&str> = BTreeSet::new();
    while below.len() < arrows.len() {
        let before = below.len();
        for (module, allowed) in &arrows {
            if allowed.iter().all(|used| below.contains(used)) {
                below.insert(module);
            }
        }
        let stuck: Vec<_> = arrows
            .keys()
            .filter(|module| !below.contains(*module))
            .collect();
        assert!(below.len() > before, "these use each other: {stuck:?}");
    }
}

#[test]
fn pure_modules_see_no_runtime_and_no_network() {
    let mut violations = Vec::new();
    let all = sources("src").into_iter().chain(sources("membership/src"));
    for (file, text) in all {
        let pure = module_of(&file).is_some_and(|module| PURE.contains(&module))
            || PURE_FILES.contains(&file.as_str());
        if !pure {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            for name in SHELL_CRATES {
                if line.contains(&format!("{name}::")) || line.contains(" async fn ") {
                    violations.push(format!("{file}:{}: {}", number + 1, line.trim()));
                }
            }
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn foca_stays_inside_the_agent() {
    for (file, text) in sources("src").into_iter().chain(sources("membership/src")) {
        let inside = file.starts_with("membership/src/agent")
            || file == "membership/src/identity.rs"
            || file == "membership/src/codec.rs";
        assert!(inside || !text.contains("foca::"), "{file} uses foca");
    }
}

#[test]
fn only_the_seams_ask_the_system() {
    let mut violations = Vec::new();
    for (file, text) in all_sources() {
        // The command line is not part of a node: it drives nodes from outside, on the machine's own time.
        if file.starts_with("src/cli/") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            for (call, seams) in BANNED {
                if line.contains(call) && !seams.contains(&file.as_str()) {
                    violations.push(format!("{file}:{}: {}", number + 1, line.trim()));
                }
            }
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn every_select_is_biased() {
    let mut violations = Vec::new();
    for (file, text) in all_sources() {
        for (number, block) in text.split("select! {").enumerate().skip(1) {
            if !block.trim_start().starts_with("biased;") {
                violations.push(format!("{file}: select! number {number} is not biased"));
            }
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn nothing_depends_on_the_simulator() {
    for manifest in [
        "Cargo.toml",
        "client/Cargo.toml",
        "membership/Cargo.toml",
        "proto/Cargo.toml",
    ] {
        let text = fs::read_to_string(root().join(manifest)).expect("a manifest can be read");
        assert!(!text.contains("shard-cache-sim"), "{manifest} names it");
    }
}

#[test]
fn nothing_of_the_tests_reaches_the_shipped_binary() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest can be read");
    assert!(
        !manifest.contains("\ndefault = ["),
        "the features race and planted-bugs must stay off"
    );
    for (file, text) in sources("src") {
        assert!(
            !text.contains("shuttle::") || file == "src/sync.rs",
            "{file} uses shuttle"
        );
    }
}
