//! The figures as a table, and its place in a document.

use super::{Figures, LOSSES, Took, Variant};

/// Before the table in a document.
pub const BEGIN: &str = "<!-- scale: begin -->";
/// After it.
pub const END: &str = "<!-- scale: end -->";

/// The table, one column for each variant.
#[must_use]
pub fn render(nodes: u16, seed: u64, columns: &[(Variant, Figures)]) -> String {
    let mut rows = vec![row("", columns, |(variant, _)| variant.title().to_owned())];
    rows.push(format!("|---|{}", "---|".repeat(columns.len())));
    let figure = |label: &str, cell: &dyn Fn(&Figures) -> String| {
        row(label, columns, |(_, figures)| cell(figures))
    };
    rows.push(figure("join: everyone knows everyone", &|it| took(it.join)));
    rows.push(figure("crash: known to half, 99 %, all", &|it| {
        it.crash.map(took).join(", ")
    }));
    rows.push(figure("cut in halves: each knows only itself", &|it| {
        took(it.split)
    }));
    rows.push(figure("healed: everyone knows everyone", &|it| {
        took(it.heal)
    }));
    for (place, percent) in LOSSES.iter().enumerate() {
        let label = format!("{percent} % lost: false downs per node-hour");
        rows.push(figure(&label, &|it| {
            format!("{:.2}", it.losses[place].false_downs)
        }));
    }
    for (place, percent) in LOSSES.iter().enumerate() {
        let label = format!("{percent} % lost: datagrams, bytes per node and second");
        rows.push(figure(&label, &|it| {
            let loss = it.losses[place];
            format!("{:.1}, {:.0}", loss.datagrams, loss.bytes)
        }));
    }
    rows.push(figure("whole states, bytes per node and second", &|it| {
        format!("{:.0}", it.losses[0].state_bytes)
    }));
    format!("{nodes} nodes, seed {seed}:\n\n{}\n", rows.join("\n"))
}

/// The document with the table between its markers; nothing if it lacks them.
#[must_use]
pub fn insert(document: &str, table: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

/// What does not change with the figures: the titles of columns and rows.
#[must_use]
pub fn shape(table: &str) -> Vec<&str> {
    let mut rows = table.lines().filter(|line| line.starts_with('|'));
    let header = rows.next();
    let labels = rows.map(|line| line.split('|').nth(1).unwrap_or_default().trim());
    header.into_iter().chain(labels).collect()
}

fn row<T>(label: &str, columns: &[T], cell: impl Fn(&T) -> String) -> String {
    let cells: Vec<_> = columns.iter().map(cell).collect();
    format!("| {label} | {} |", cells.join(" | "))
}

fn took(took: Took) -> String {
    match took {
        Took::Time(time) => format!("{:.2} s", time.as_secs_f64()),
        Took::Beyond(limit, share) => {
            let percent = share * 100.0;
            format!("not in {} s: {percent:.2} % wrong", limit.as_secs())
        }
    }
}
