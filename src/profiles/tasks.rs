//! Which tasks there are.

use std::fmt::Write as _;

use pprof::protos::{Function, Line, Location, Profile, Sample, ValueType};

use super::{ProfileError, encoded, text};
use crate::workers::TaskView;

/// What stands below the name of every task, as the function that started it would.
const ROOT: &str = "tasks of the node";

/// A profile that counts tasks by name.
///
/// # Errors
/// It cannot be encoded.
pub(crate) fn tasks(tasks: &[TaskView]) -> Result<Vec<u8>, ProfileError> {
    let mut profile = Profile::default();
    let (kind, unit) = (text(&mut profile, "tasks"), text(&mut profile, "count"));
    let counted = ValueType {
        ty: kind,
        unit,
        ..ValueType::default()
    };
    profile.sample_type.push(counted.clone());
    profile.period_type = Some(counted).into();
    profile.period = 1;
    let root = location(&mut profile, ROOT);
    for group in groups(tasks) {
        let leaf = location(&mut profile, group.name);
        profile.sample.push(Sample {
            location_id: vec![leaf, root],
            value: vec![i64::try_from(group.tasks.len()).unwrap_or(i64::MAX)],
            ..Sample::default()
        });
    }
    encoded(&profile)
}

fn location(profile: &mut Profile, name: &str) -> u64 {
    let name = text(profile, name);
    let id = profile.location.len() as u64 + 1;
    profile.function.push(Function {
        id,
        name,
        system_name: name,
        ..Function::default()
    });
    profile.location.push(Location {
        id,
        line: vec![Line {
            function_id: id,
            ..Line::default()
        }],
        ..Location::default()
    });
    id
}

/// The same for people: by name, or each task on a line of its own.
pub(crate) fn describe(tasks: &[TaskView], each: bool) -> String {
    let mut text = format!("{} tasks\n", tasks.len());
    // Writing to a String does not fail.
    for group in groups(tasks) {
        let count = group.tasks.len();
        let oldest = group.tasks.iter().map(|task| task.age).max();
        let polls: u64 = group.tasks.iter().map(|task| task.polls).sum();
        let oldest = oldest.unwrap_or_default().as_secs_f64();
        let name = group.name;
        writeln!(
            text,
            "\n{count} {name}: oldest {oldest:.1} s, {polls} polls"
        )
        .ok();
        for task in group.tasks.iter().filter(|_| each) {
            let state = if task.is_polled { "running" } else { "waiting" };
            let (id, age, polls) = (task.id, task.age.as_secs_f64(), task.polls);
            writeln!(text, "  task {id} [{state}]: {age:.1} s, {polls} polls").ok();
        }
    }
    text
}

struct Group<'a> {
    name: &'static str,
    tasks: Vec<&'a TaskView>,
}

/// By name, most tasks first.
fn groups(tasks: &[TaskView]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for task in tasks {
        match groups.iter_mut().find(|group| group.name == task.name) {
            Some(group) => group.tasks.push(task),
            None => groups.push(Group {
                name: task.name,
                tasks: vec![task],
            }),
        }
    }
    groups.sort_by_key(|group| (std::cmp::Reverse(group.tasks.len()), group.name));
    groups
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, time::Duration};

    use flate2::read::GzDecoder;
    use pprof::protos::Message as _;

    use super::*;

    fn view(id: u64, name: &'static str, secs: u64) -> TaskView {
        TaskView {
            id,
            name,
            age: Duration::from_secs(secs),
            polls: 2,
            is_polled: id == 1,
        }
    }

    fn some() -> Vec<TaskView> {
        vec![
            view(1, "repair", 9),
            view(2, "client connection", 4),
            view(3, "client connection", 7),
        ]
    }

    #[test]
    fn tasks_are_counted_by_name() {
        let mut bytes = Vec::new();
        let encoded = tasks(&some()).unwrap();
        GzDecoder::new(encoded.as_slice())
            .read_to_end(&mut bytes)
            .unwrap();
        let profile = Profile::parse_from_bytes(&bytes).unwrap();
        let counted: Vec<(&str, i64)> = profile
            .sample
            .iter()
            .map(|sample| {
                let leaf = sample.location_id[0];
                let function = profile.function.iter().find(|it| it.id == leaf).unwrap();
                let name = usize::try_from(function.name).unwrap();
                (profile.string_table[name].as_str(), sample.value[0])
            })
            .collect();
        assert_eq!(counted, [("client connection", 2), ("repair", 1)]);
    }

    #[test]
    fn people_see_ages_and_on_request_each_task() {
        let short = describe(&some(), false);
        assert_eq!(
            short,
            "3 tasks\n\n2 client connection: oldest 7.0 s, 4 polls\n\n1 repair: oldest 9.0 s, 2 polls\n"
        );
        let long = describe(&some(), true);
        assert!(
            long.contains("  task 1 [running]: 9.0 s, 2 polls\n"),
            "{long}"
        );
        assert!(
            long.contains("  task 3 [waiting]: 7.0 s, 2 polls\n"),
            "{long}"
        );
    }
}
