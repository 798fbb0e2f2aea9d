//! `shard-cache ring owners`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use shard_cache_client::cluster::OwnersResponse;

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
    format!(
        "{key}: slot {slot}, ring {ring}\n{}",
        output::table(&columns, &rows)
    )
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
    json!({ "key": key, "slot": answer.slot, "ring_hash": answer.ring_hash, "owners": owners })
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
        };
        let expected = "\
key: slot 7, ring cafe
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
