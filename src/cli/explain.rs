//! `--explain`: how a node carried a request out, for people and for programs.

use clap::Args;
use serde_json::{Value as Json, json};
use shard_cache_client::{Explain, Explained, OwnerAnswer, ReplicaRequest};

use super::{
    cluster::dash,
    exit::Failure,
    get::version,
    output::{self, Column, Format},
};

/// `--explain`.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct ExplainArguments {
    /// Tell too which owners were asked, what each answered, and where the time went.
    #[arg(long)]
    pub(super) explain: bool,
}

/// Passes the outcome of a request on, with its explanation; of one that failed, that is shown here.
pub(super) fn told<T>(
    format: Format,
    key: &str,
    explained: Explained<T>,
) -> Result<(T, Option<Explain>), Failure> {
    let Explained { outcome, explain } = explained;
    match (outcome, explain) {
        (Ok(answer), explain) => Ok((answer, explain)),
        (Err(error), None) => Err(error.into()),
        (Err(error), Some(explain)) => {
            match format {
                Format::Table => output::write_line(&render(key, &explain))?,
                Format::Json | Format::Jsonl => {
                    let told = json!({ "key": key, "explain": document(&explain) });
                    output::write_json(format, &told)?;
                }
            }
            Err(error.into())
        }
    }
}

/// Three tables: the owners and why they are, what they were asked, and the stages.
pub(super) fn render(key: &str, explain: &Explain) -> String {
    let head = output::printable(&headline(key, explain));
    let (owners, requests) = (owners(explain), requests(explain));
    format!("{head}\n\n{owners}\n\n{requests}\n\n{}", stages(explain))
}

fn headline(key: &str, explain: &Explain) -> String {
    let Explain {
        coordinator,
        slot,
        configuration,
        root,
        number,
        ring_hash,
        needed,
        attempts,
        restamps,
        ..
    } = explain;
    let count = explain.owners.len();
    let attempts = match attempts {
        1 => "1 attempt".to_owned(),
        more => format!("{more} attempts"),
    };
    let restamped = match restamps {
        0 => String::new(),
        times => format!(", stamped anew {times} times"),
    };
    format!(
        "{key} at {coordinator}: slot {slot}, configuration {number} (root {root:016x}, owners {configuration:016x}), ring {ring_hash}\n\
         {needed} of {count} owners needed; {attempts}{restamped}"
    )
}

fn owners(explain: &Explain) -> String {
    let columns = [
        Column::Right("#"),
        Column::Left("OWNER"),
        Column::Left("STATE"),
        Column::Left("LINK"),
        Column::Left("FULL"),
        Column::Left("ZONE"),
        Column::Left("SCORE"),
        Column::Left("ANSWER"),
    ];
    let rows = explain.owners.iter().zip(1..).map(|(owner, place)| {
        let place: u32 = place;
        vec![
            place.to_string(),
            dash(&owner.node),
            dash(&owner.liveness),
            dash(&owner.link),
            yes_or_no(owner.full).to_owned(),
            dash(&owner.zone),
            format!("{:016x}", owner.score),
            dash(&owner.answer),
        ]
    });
    output::table(&columns, &rows.collect::<Vec<_>>())
}

fn requests(explain: &Explain) -> String {
    let columns = [
        Column::Left("ASKED"),
        Column::Left("FOR"),
        Column::Right("ATTEMPT"),
        Column::Left("CHOICE"),
        Column::Right("SENT AT"),
        Column::Right("ANSWERED"),
        Column::Left("ANSWER"),
        Column::Left("VERSION"),
        Column::Left("WHY"),
        Column::Left("HINT"),
    ];
    let rows = explain.requests.iter().map(|request| {
        let place = if request.local { " (local)" } else { "" };
        let version = request.version.as_ref();
        let version = version.map(|version| format!("{}.{}", version.millis, version.counter));
        let answered = request.answered_micros.map(micros);
        vec![
            format!("{}{place}", request.node),
            dash(&request.purpose),
            request.attempt.to_string(),
            dash(&request.choice),
            micros(request.sent_micros),
            answered.unwrap_or_else(|| "-".to_owned()),
            dash(&request.answer),
            version.unwrap_or_else(|| "-".to_owned()),
            dash(&request.miss),
            dash(&request.hint),
        ]
    });
    output::table(&columns, &rows.collect::<Vec<_>>())
}

fn stages(explain: &Explain) -> String {
    let columns = [
        Column::Left("STAGE"),
        Column::Right("TIME"),
        Column::Right("SHARE"),
    ];
    let total = explain.total_micros;
    let row = |name: &str, taken: u64| {
        // Shares are for people: precision does not matter.
        let share = taken as f64 * 100.0 / total.max(1) as f64;
        vec![name.to_owned(), micros(taken), format!("{share:.1}%")]
    };
    let stages = explain.stages.iter();
    let mut rows: Vec<_> = stages.map(|stage| row(&stage.name, stage.micros)).collect();
    rows.push(row("total", total));
    output::table(&columns, &rows)
}

const fn yes_or_no(truth: Option<bool>) -> &'static str {
    match truth {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    }
}

/// A time that people can read.
fn micros(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{micros} us"),
        // Times are for people: precision does not matter.
        10_000..10_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// The explanation as JSON. Ids and hashes have 64 bits, more than JSON readers keep: as text.
pub(super) fn document(explain: &Explain) -> Json {
    let stages = explain.stages.iter();
    let stages = stages.map(|stage| json!({ "name": stage.name, "micros": stage.micros }));
    json!({
        "coordinator": explain.coordinator,
        "slot": explain.slot,
        "configuration": {
            "root": format!("{:016x}", explain.root),
            "number": explain.number,
            "owners": format!("{:016x}", explain.configuration),
        },
        "ring_hash": explain.ring_hash,
        "needed": explain.needed,
        "attempts": explain.attempts,
        "restamps": explain.restamps,
        "owners": explain.owners.iter().map(owner_json).collect::<Vec<_>>(),
        "requests": explain.requests.iter().map(request_json).collect::<Vec<_>>(),
        "stages": stages.collect::<Vec<_>>(),
        "total_micros": explain.total_micros,
    })
}

fn owner_json(owner: &OwnerAnswer) -> Json {
    json!({
        "node": owner.node,
        "answer": owner.answer,
        "score": format!("{:016x}", owner.score),
        "zone": owner.zone,
        "liveness": owner.liveness,
        "link": owner.link,
        "full": owner.full,
    })
}

fn request_json(request: &ReplicaRequest) -> Json {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "node": request.node,
        "local": request.local,
        "purpose": request.purpose,
        "attempt": request.attempt,
        "choice": request.choice,
        "sent_micros": request.sent_micros,
        "answered_micros": request.answered_micros,
        "answer": request.answer,
        "version": request.version.map(|wire| version(&wire.into())),
        "miss": given(&request.miss),
        "hint": given(&request.hint),
        "full": request.full,
    })
}

#[cfg(test)]
mod tests {
    use shard_cache_client::Stage;

    use super::*;

    fn explain() -> Explain {
        let owner = |node: &str, link: &str, answer: &str, full| OwnerAnswer {
            node: node.to_owned(),
            answer: answer.to_owned(),
            score: 0xff,
            liveness: "alive".to_owned(),
            link: link.to_owned(),
            full,
            ..OwnerAnswer::default()
        };
        let request = |node: &str, answer: &str, answered, hint: &str| ReplicaRequest {
            node: node.to_owned(),
            local: node == "n1",
            purpose: "write".to_owned(),
            attempt: 1,
            choice: "first".to_owned(),
            sent_micros: 20,
            answered_micros: answered,
            answer: answer.to_owned(),
            hint: hint.to_owned(),
            ..ReplicaRequest::default()
        };
        let stage = |name: &str, micros| Stage {
            name: name.to_owned(),
            micros,
        };
        Explain {
            coordinator: "n1".to_owned(),
            slot: 7,
            configuration: 9,
            root: 8,
            number: 1,
            ring_hash: "cafe".to_owned(),
            needed: 2,
            attempts: 1,
            owners: vec![
                owner("n3", "down", "unreachable", None),
                owner("n1", "local", "ok", Some(true)),
            ],
            requests: vec![
                request("n3", "unreachable", Some(25), "kept"),
                request("n1", "ok", Some(12_345), ""),
            ],
            stages: vec![stage("plan", 100), stage("quorum", 900)],
            total_micros: 1000,
            ..Explain::default()
        }
    }

    #[test]
    fn people_see_owners_requests_and_stages() {
        let expected = "\
key at n1: slot 7, configuration 1 (root 0000000000000008, owners 0000000000000009), ring cafe
2 of 2 owners needed; 1 attempt

#  OWNER  STATE  LINK   FULL  ZONE  SCORE             ANSWER
1  n3     alive  down   -     -     00000000000000ff  unreachable
2  n1     alive  local  yes   -     00000000000000ff  ok

ASKED       FOR    ATTEMPT  CHOICE  SENT AT  ANSWERED  ANSWER       VERSION  WHY  HINT
n3          write        1  first     20 us     25 us  unreachable  -        -    kept
n1 (local)  write        1  first     20 us   12.3 ms  ok           -        -    -

STAGE      TIME   SHARE
plan     100 us   10.0%
quorum   900 us   90.0%
total   1000 us  100.0%";
        assert_eq!(render("key", &explain()), expected);
    }

    #[test]
    fn programs_see_numbers_and_nothing_for_nothing() {
        let document = document(&explain());
        assert_eq!(document["configuration"]["root"], "0000000000000008");
        assert_eq!(document["owners"][0]["full"], Json::Null);
        assert_eq!(document["requests"][0]["hint"], "kept");
        assert_eq!(document["requests"][1]["hint"], Json::Null);
        assert_eq!(document["stages"][1]["micros"], 900);
    }
}
