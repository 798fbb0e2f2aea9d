//! The command line of the model.

mod arguments;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use arguments::{Arguments, Command, USAGE};
use slot_model::{
    exhaustive::{self, INSTANCES},
    explore::{self, Log, MODES},
    modelled::Modelled,
    rules::Bug,
    scenario::{self, Scenario},
    sweep::{Sweep, Until},
    world::Violation,
};

/// Violations of a mode that are shown.
const SHOWN_MAX: usize = 5;
/// Seeds that are tried first for a planted bug.
const FIRST_BLOCK: u64 = 500;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(mistake) => {
            eprintln!("{mistake}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let passed = match arguments.command {
        Command::Help => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Command::Sweep => sweep(&arguments),
        Command::Mutants => mutants(&arguments),
        Command::Exhaustive => exhaustive(&arguments),
        Command::Replay { mode, seed } => replay(&arguments, mode, seed),
        Command::Scenarios => scenarios(&arguments),
    };
    println!("VERDICT: {}", if passed { "pass" } else { "FAIL" });
    ExitCode::from(u8::from(!passed))
}

/// Random schedules in all modes, or in one.
fn sweep(arguments: &Arguments) -> bool {
    let mut passed = true;
    for (number, mode) in MODES.into_iter().enumerate() {
        if arguments.mode.is_some_and(|only| only != number) {
            continue;
        }
        let sweep = Sweep {
            rules: arguments.rules,
            mode,
            from: arguments.from,
            seeds: arguments.seeds,
            until: arguments.until,
        };
        let (outcome, took) = timed(|| sweep.run());
        println!(
            "{:20} {} schedules, {} writes and {} reads done, {} with a declared loss, {} violations ({took:.1?})",
            mode.name,
            arguments.seeds,
            outcome.writes,
            outcome.reads,
            outcome.losses,
            outcome.violations.len(),
        );
        for (seed, violation) in outcome.violations.iter().take(SHOWN_MAX) {
            println!("    --replay {number}:{seed}  {violation}");
        }
        passed &= outcome.violations.is_empty();
    }
    passed
}

/// Every planted bug that random schedules find must be caught in some mode.
fn mutants(arguments: &Arguments) -> bool {
    let mut passed = true;
    for bug in Bug::ALL {
        if !bug.is_found_at_random() {
            println!("left to scenarios: {bug}");
            continue;
        }
        let (caught, took) = timed(|| first_caught(arguments, bug));
        match caught {
            Some((mode, seed, violation)) => {
                println!("caught  {bug}: {mode}:{seed} {violation} ({took:.1?})");
            }
            None => {
                passed = false;
                println!("MISSED  {bug} ({took:.1?})");
            }
        }
    }
    passed
}

/// The mode in which the lowest seed catches a bug. Seeds are tried in growing blocks in all modes, because some modes
/// cannot catch some bugs.
fn first_caught(arguments: &Arguments, bug: Bug) -> Option<(usize, u64, Violation)> {
    let end = arguments.from + arguments.seeds;
    let (mut from, mut block) = (arguments.from, FIRST_BLOCK);
    while from < end {
        let seeds = block.min(end - from);
        let caught = MODES.into_iter().enumerate().filter_map(|(number, mode)| {
            let sweep = Sweep {
                rules: bug.rules(),
                mode,
                from,
                seeds,
                until: Until::First,
            };
            let (seed, violation) = *sweep.run().violations.first()?;
            Some((number, seed, violation))
        });
        let first = caught.min_by_key(|(_, seed, _)| *seed);
        if first.is_some() {
            return first;
        }
        from += seeds;
        block *= 2;
    }
    None
}

fn exhaustive(arguments: &Arguments) -> bool {
    let mut passed = true;
    for instance in &INSTANCES {
        let explored = exhaustive::explore(arguments.rules, instance, arguments.depth);
        let verdict = match &explored.violation {
            None => "no violation".to_owned(),
            Some((depth, violation)) => format!("after {depth} steps: {violation}"),
        };
        println!(
            "rings {}: {} worlds, every schedule of {} steps: {verdict}",
            explored.rings.join(", "),
            explored.worlds,
            explored.depth,
        );
        passed &= explored.violation.is_none();
    }
    passed
}

/// One schedule in words.
fn replay(arguments: &Arguments, mode: usize, seed: u64) -> bool {
    let world = explore::schedule(arguments.rules, MODES[mode], seed, Log::Kept);
    for line in world.log.iter().flatten() {
        println!("{line}");
    }
    if let Some(violation) = &world.violation {
        println!("{violation}");
    }
    world.violation.is_none()
}

/// Every file must go as it says, and fail with the planted bugs that it catches.
fn scenarios(arguments: &Arguments) -> bool {
    let mut passed = true;
    for file in &arguments.files {
        let name = file.display();
        let scenario = match std::fs::read_to_string(file) {
            Ok(text) => match Scenario::parse(&text) {
                Ok(scenario) => scenario,
                Err(error) => {
                    println!("FAILED  {name}: {error}");
                    passed = false;
                    continue;
                }
            },
            Err(error) => {
                println!("FAILED  {name}: {error}");
                passed = false;
                continue;
            }
        };
        passed &= scenario_passes(arguments, &name.to_string(), &scenario);
    }
    passed
}

fn scenario_passes(arguments: &Arguments, name: &str, scenario: &Scenario) -> bool {
    let mut modelled = Modelled::new(scenario, arguments.rules);
    if let Err(failure) = scenario::play(scenario, &mut modelled) {
        for line in modelled.log() {
            println!("    {line}");
        }
        println!("FAILED  {name}: {failure}");
        return false;
    }
    println!("agreed  {name}");
    let mut passed = true;
    for bug in &scenario.catches {
        match scenario::play(scenario, &mut Modelled::new(scenario, bug.rules())) {
            Ok(()) => {
                println!("MISSED  {name}: {bug}");
                passed = false;
            }
            Err(failure) => println!("caught  {name}: {bug}: {failure}"),
        }
    }
    passed
}

#[allow(
    clippy::disallowed_methods,
    reason = "commands tell how long they took; nothing in the model depends on it"
)]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let result = work();
    (result, started.elapsed())
}
