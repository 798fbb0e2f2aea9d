//! `shard-cache ring owners`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use shard_cache_client::cluster::{OwnersResponse, SlotConfiguration};

use super::{
    cluster::{dash, state},
    connection::{ConnectionArguments, block_on},
    exit::{Exit, Failure},
    output::{self, Column, Format, OutputArguments},
};
use crate::documents::member_document;

/// Who owns what.
#[derive(Debug, Subcommand)]
pub(super) enum RingCommand {
    Owners(OwnersArguments),
}

/// Show the owners of keys, in order of preference, with their scores.
#[derive(Debug, Args)]
pub(super) struct OwnersArguments {
    /// The keys.
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    connection: ConnectionArguments,
    #[command(flatten)]
    output: OutputArguments,
}

impl RingCommand {
    pub(super) const fn format(&self) -> Format {
        let Self::Owners(arguments) = self;
        arguments.output.format
    }
}

pub(super) fn run(command: &RingCommand) -> Result<Exit, Failure> {
    let RingCommand::Owners(arguments) = command;
    let answers = block_on(async {
        let client = arguments.connection.connect().await?;
        let mut answers = Vec::with_capacity(arguments.keys.len());
        for key in &arguments.keys {
            answers.push((key.as_str(), client.owners(key).await?));
        }
        Ok(answers)
    })?;
    match command.format() {
        Format::Table => {
            for (key, answer) in &answers {
                output::write_line(&render(key, answer))?;
            }
        }
        format @ (Format::Json | Format::Jsonl) => {
            let documents: Vec<_> = answers
                .iter()
                .map(|(key, answer)| document(key, answer))
                .collect();
            output::write_json_list(format, &documents)?;
        }
    }
    Ok(Exit::Ok)
}

fn render(key: &str, answer: &OwnersResponse) -> String {
    let rows: Vec<_> = answer
        .owners
        .iter()
        .enumerate()
        .map(|(index, owner)| {
            let member = owner.member.as_ref();
            let text = |of: fn(&shard_cache_client::cluster::Member) -> String| {
                member.map_or_else(|| "-".to_owned(), of)
            };
            vec![
                (index + 1).to_string(),
                text(state),
                text(|member| member.name.clone()),
                text(|member| member.grpc_address.clone()),
                text(|member| dash(&member.zone)),
                format!("{:016x}", owner.score),
            ]
        })
        .collect();
    let columns = [
        Column::Right("#"),
        Column::Left("--"),
        Column::Left("OWNER"),
        Column::Left("ADDRESS"),
        Column::Left("ZONE"),
        Column::Left("SCORE"),
    ];
    let key = output::printable(key);
    let (slot, ring) = (answer.slot, output::printable(&answer.ring_hash));
    let configuration = answer.configuration.as_ref().map_or_else(String::new, told);
    format!(
        "{key}: slot {slot}, ring {ring}{configuration}\n{}",
        output::table(&columns, &rows)
    )
}

/// The configuration of the slot at the node that was asked, and how far it is from the ring.
fn told(configuration: &SlotConfiguration) -> String {
    let SlotConfiguration {
        root,
        number,
        owners,
        current,
        owner_names,
        ..
    } = configuration;
    let names = output::printable(&owner_names.join(", "));
    let moving = if *current {
        String::new()
    } else {
        format!("; the slot is about to move, requests still go to {names}")
    };
    format!(", configuration {number} (root {root:016x}, owners {owners:016x}){moving}")
}

fn document(key: &str, answer: &OwnersResponse) -> Value {
    let owners: Vec<_> = answer
        .owners
        .iter()
        .map(|owner| {
            let member = owner.member.as_ref().map(member_document);
            // 64 bits are more than JSON readers keep: as text.
            json!({ "member": member, "score": format!("{:016x}", owner.score) })
        })
        .collect();
    let configuration = answer.configuration.as_ref().map(|configuration| {
        json!({
            "root": format!("{:016x}", configuration.root),
            "number": configuration.number,
            "owners": format!("{:016x}", configuration.owners),
            "current": configuration.current,
            "owner_names": configuration.owner_names,
            "full": configuration.full,
        })
    });
    json!({
        "key": key,
        "slot": answer.slot,
        "ring_hash": answer.ring_hash,
        "owners": owners,
        "configuration": configuration,
    })
}

#[cfg(test)]
mod tests {
    use shard_cache_client::cluster::{Member, Owner};

    use super::*;

    #[test]
    fn owners_are_shown_in_their_order_with_their_scores() {
        let owner = |name: &str, zone: &str, score| Owner {
            member: Some(Member {
                name: name.to_owned(),
                liveness: "alive".to_owned(),
                phase: "active".to_owned(),
                grpc_address: "127.0.0.1:8080".to_owned(),
                zone: zone.to_owned(),
                ..Member::default()
            }),
            score,
        };
        let answer = OwnersResponse {
            slot: 7,
            owners: vec![owner("b", "east", u64::MAX), owner("a", "", 1)],
            ring_hash: "cafe".to_owned(),
            configuration: Some(SlotConfiguration {
                root: 8,
                number: 3,
                owners: 9,
                current: false,
                owner_names: vec!["b".to_owned(), "c".to_owned()],
                full: false,
            }),
        };
        let expected = "\
key: slot 7, ring cafe, configuration 3 (root 0000000000000008, owners 0000000000000009); the slot is about to move, requests still go to b, c
#  --  OWNER  ADDRESS         ZONE  SCORE
1  UN  b      127.0.0.1:8080  east  ffffffffffffffff
2  UN  a      127.0.0.1:8080  -     0000000000000001";
        assert_eq!(render("key", &answer), expected);
        assert_eq!(
            document("key", &answer)["owners"][1]["score"],
            "0000000000000001"
        );
    }
}
