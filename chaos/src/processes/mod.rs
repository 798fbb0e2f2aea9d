//! `chaos/processes`: changes clusters of real processes under load, and proves that nothing acknowledged was lost.
//!
//! ```text
//! arguments ─► mod (one scenario after the other) ─► stage (load, faults, read back) ─► judge ─► report, claims
//!                                                      └─► restarts, scale, split, pause, away (what is done)
//! ```

mod arguments;
mod away;
mod claim;
mod digests;
mod pause;
mod restarts;
mod scale;
mod split;
mod stage;
mod tries;

use std::path::Path;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

pub(crate) use self::arguments::ProcessArguments;
use self::{arguments::Scenario, claim::Claim, stage::Stage, tries::Tries};
use crate::{
    INTERRUPTED, PASSED, SKIPPED, UNREACHABLE, VACUOUS, VIOLATED,
    judge::{self, Kind, Verdict},
    nodes::{self, network::Namespaces},
    report,
};

/// What became of a scenario.
enum Ended {
    /// It ran, and this is what was seen.
    Judged(Box<Judged>),
    /// It lacks a tool or a privilege.
    Skipped(String),
    /// It could not be run to its end.
    Failed(anyhow::Error),
    /// It was interrupted.
    Interrupted,
}

struct Judged {
    verdict: Verdict,
    tries: Tries,
    claims: Vec<Claim>,
    seconds: f64,
}

impl Judged {
    fn is_broken(&self) -> bool {
        self.verdict.is_violated() || self.claims.iter().any(|claim| !claim.held())
    }

    fn word(&self) -> &'static str {
        if self.is_broken() {
            "VIOLATED"
        } else if self.verdict.vacuous.is_empty() {
            "passed"
        } else {
            "PROVES NOTHING"
        }
    }
}

/// Runs the scenarios one after the other and returns the exit code.
pub(crate) async fn run(arguments: &ProcessArguments, cancelled: &CancellationToken) -> u8 {
    let mut ended = Vec::new();
    for scenario in arguments.scenarios() {
        if cancelled.is_cancelled() {
            break;
        }
        eprintln!("{}: starting", scenario.name());
        let outcome = one(arguments, scenario, cancelled).await;
        if let Ended::Failed(error) = &outcome {
            eprintln!("{}: {error:#}", scenario.name());
        }
        ended.push((scenario, outcome));
    }
    print!("{}", summary(&ended));
    code(
        &ended,
        arguments.skip_without_privileges,
        cancelled.is_cancelled(),
    )
}

async fn one(
    arguments: &ProcessArguments,
    scenario: Scenario,
    cancelled: &CancellationToken,
) -> Ended {
    if scenario.needs_namespaces()
        && let Some(missing) = Namespaces::missing()
    {
        println!("{}: SKIPPED, {missing}\n", scenario.name());
        return Ended::Skipped(missing);
    }
    let logs = match nodes::log_directory(arguments.logs.as_deref(), scenario.name()) {
        Ok(logs) => logs,
        Err(error) => return Ended::Failed(error),
    };
    let ended = match play(arguments, scenario, &logs, cancelled).await {
        Ok(_) if cancelled.is_cancelled() => Ended::Interrupted,
        Ok(judged) => Ended::Judged(Box::new(judged)),
        Err(_) if cancelled.is_cancelled() => Ended::Interrupted,
        Err(error) => Ended::Failed(error),
    };
    let is_well = matches!(&ended, Ended::Judged(judged) if judged.word() == "passed");
    if arguments.logs.is_none() && (is_well || cancelled.is_cancelled()) {
        remove_logs(&logs);
    } else {
        eprintln!("{}: the logs are in {}", scenario.name(), logs.display());
    }
    ended
}

fn remove_logs(logs: &Path) {
    std::fs::remove_dir_all(logs).ok();
    // Fails while another scenario's logs are kept there.
    logs.parent().map(std::fs::remove_dir);
}

async fn play(
    arguments: &ProcessArguments,
    scenario: Scenario,
    logs: &Path,
    cancelled: &CancellationToken,
) -> anyhow::Result<Judged> {
    let begun = tokio::time::Instant::now();
    let mut stage = Stage::build(arguments, scenario, logs, cancelled)?;
    let played = stage.play().await;
    let (history, mut claims) = stage.strike().await?;
    if let (Err(error), false) = (played, cancelled.is_cancelled()) {
        claims.push(Claim::new(false, format!("{error:#}")));
    }
    let verdict = judge::judge(&history, arguments.floors());
    let tries = Tries::of(&history);
    if matches!(scenario, Scenario::RollingRestart | Scenario::Scale) && !cancelled.is_cancelled() {
        let left = tries.failed_twice;
        claims.push(Claim::new(
            left == 0,
            format!("{left} errors left after one retry at another node"),
        ));
    }
    let judged = Judged {
        verdict,
        tries,
        claims,
        seconds: begun.elapsed().as_secs_f64(),
    };
    println!("== {} ==", scenario.name());
    print!("{}", report::render(&history, &judged.verdict));
    print!("{}", rates(&judged.tries));
    for claim in &judged.claims {
        println!("{claim}");
    }
    println!();
    Ok(judged)
}

fn rates(tries: &Tries) -> String {
    let Tries {
        requests,
        failed_first,
        failed_twice,
        retried_after_us,
    } = tries;
    format!(
        "{requests} requests: {:.3} % at the first try ({failed_first} failed), {:.3} % with one retry at another node \
         ({failed_twice} failed), begun within {:.1} ms\n",
        tries.first_try() * 100.0,
        tries.with_retry() * 100.0,
        *retried_after_us as f64 / 1e3
    )
}

fn summary(ended: &[(Scenario, Ended)]) -> String {
    let mut text = "SCENARIO         SECONDS   ACKED  DURING   KEYS  LOST  RESURRECTED  STALE  EVICTED  FIRST TRY  \
                    WITH RETRY  VERDICT\n"
        .to_owned();
    for (scenario, ended) in ended {
        let name = scenario.name();
        let line = match ended {
            Ended::Judged(judged) => row(name, judged),
            Ended::Skipped(missing) => format!("{name:15}  SKIPPED, {missing}"),
            Ended::Failed(error) => format!("{name:15}  FAILED, {error:#}"),
            Ended::Interrupted => format!("{name:15}  INTERRUPTED"),
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn row(name: &str, judged: &Judged) -> String {
    let Judged {
        verdict,
        tries,
        seconds,
        ..
    } = judged;
    let [lost, resurrected, stale] =
        [Kind::Lost, Kind::Resurrected, Kind::Stale].map(|kind| verdict.count(kind));
    format!(
        "{name:15}  {seconds:7.1}  {:6}  {:5.1}%  {:5}  {lost:4}  {resurrected:11}  {stale:5}  {:7}  {:8.3}%  \
         {:9.3}%  {}",
        verdict.acked,
        verdict.during_share() * 100.0,
        verdict.keys,
        verdict.evicted,
        tries.first_try() * 100.0,
        tries.with_retry() * 100.0,
        judged.word()
    )
}

fn code(ended: &[(Scenario, Ended)], may_skip: bool, is_interrupted: bool) -> u8 {
    if is_interrupted {
        return INTERRUPTED;
    }
    let codes = ended.iter().map(|(_, ended)| match ended {
        Ended::Judged(judged) if judged.is_broken() => VIOLATED,
        Ended::Judged(judged) if !judged.verdict.vacuous.is_empty() => VACUOUS,
        Ended::Judged(_) => PASSED,
        Ended::Skipped(_) if may_skip => PASSED,
        Ended::Skipped(_) => SKIPPED,
        Ended::Failed(_) => UNREACHABLE,
        Ended::Interrupted => INTERRUPTED,
    });
    // The worst: a violation wins over what merely proves nothing, and both over what was skipped.
    let rank = |code: &u8| match *code {
        PASSED => 0,
        SKIPPED => 1,
        VACUOUS => 2,
        UNREACHABLE => 3,
        _ => 4,
    };
    codes.max_by_key(rank).unwrap_or(VACUOUS)
}

/// The history of a scenario, where it is kept.
fn history_file(
    arguments: &ProcessArguments,
    scenario: Scenario,
) -> anyhow::Result<Option<std::path::PathBuf>> {
    let Some(directory) = &arguments.histories else {
        return Ok(None);
    };
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(Some(directory.join(format!("{}.jsonl", scenario.name()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(vacuous: &[&str], held: bool) -> Ended {
        Ended::Judged(Box::new(Judged {
            verdict: Verdict {
                vacuous: vacuous.iter().map(|why| (*why).to_owned()).collect(),
                ..Verdict::default()
            },
            tries: Tries::default(),
            claims: vec![Claim::new(held, "something")],
            seconds: 1.0,
        }))
    }

    fn code_of(ended: Vec<Ended>, may_skip: bool) -> u8 {
        let ended = ended.into_iter().map(|ended| (Scenario::Split, ended));
        code(&ended.collect::<Vec<_>>(), may_skip, false)
    }

    #[test]
    fn the_worst_scenario_decides() {
        let skipped = || Ended::Skipped("no root".to_owned());
        assert_eq!(code_of(vec![judged(&[], true)], false), PASSED);
        assert_eq!(code_of(vec![judged(&[], true), skipped()], false), SKIPPED);
        assert_eq!(
            code_of(vec![skipped(), judged(&["few"], true)], false),
            VACUOUS
        );
        let broken = vec![judged(&[], false), judged(&["few"], true), skipped()];
        assert_eq!(code_of(broken, false), VIOLATED);
        assert_eq!(code_of(Vec::new(), false), VACUOUS);
    }

    #[test]
    fn what_was_skipped_never_counts_as_passed() {
        let ended = vec![(Scenario::Split, Ended::Skipped("no root".to_owned()))];
        assert!(summary(&ended).contains("SKIPPED, no root"));
        assert!(!summary(&ended).contains("passed"));
        assert_eq!(code(&ended, false, false), SKIPPED);
        assert_eq!(code(&ended, true, false), PASSED);
    }
}
