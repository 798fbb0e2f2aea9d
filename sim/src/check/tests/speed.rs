//! A million operations. Run it with
//! `cargo test --release -p shard-cache-sim -- --ignored --nocapture speed`.

use std::io::Write as _;

use super::{
    legal::PLAN,
    twin::{Plan, legal_history},
};
use crate::{
    check::check,
    history::{History, Promises, Writer, read},
};

#[allow(
    clippy::disallowed_methods,
    reason = "measures how long the checker itself takes"
)]
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = std::time::Instant::now();
    let done = work();
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{what}: {:.2} s", begun.elapsed().as_secs_f64()).unwrap();
    done
}

#[test]
#[ignore = "a measurement, for optimised builds"]
fn speed() {
    for keys in [100, 100_000] {
        let plan = Plan {
            operations: 1_000_000,
            keys,
            ..PLAN
        };
        let history: History = timed("making", || legal_history(1, plan));
        let verdict = timed("checking", || check(&history, &Promises::full()));
        assert_eq!(verdict.violations, []);
        println!("{} operations on {keys} keys", verdict.counts.operations);
        let mut text = Vec::new();
        timed("writing", || Writer::write_all(&mut text, &history)).unwrap();
        println!("{} MiB", text.len() >> 20);
        let back = timed("reading", || read(&*text)).unwrap();
        assert_eq!(back, history);
    }
}
