//! The figures as a table, and its place in a document.

/// Before the table in a document.
pub(crate) const BEGIN: &str = "<!-- figures: begin -->";
/// After it.
pub(crate) const END: &str = "<!-- figures: end -->";

/// One figure.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Row {
    label: String,
    cells: Option<Cells>,
}

#[derive(Clone, PartialEq, Debug)]
struct Cells {
    runs: usize,
    median: String,
    worst: String,
}

/// Which end of the values is the worse one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Worst {
    /// The largest, as of times.
    Largest,
    /// The smallest, as of rates.
    Smallest,
}

impl Row {
    /// A figure that was measured several times.
    #[must_use]
    pub(crate) fn new(label: &str, values: &[f64], unit: &str, worst: Worst) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let shown = |value: Option<&f64>| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2} {unit}"))
        };
        let worst = match worst {
            Worst::Largest => sorted.last(),
            Worst::Smallest => sorted.first(),
        };
        // Of an even number the worse of the two in the middle, if large is bad.
        let cells = Cells {
            runs: sorted.len(),
            median: shown(sorted.get(sorted.len() / 2)),
            worst: shown(worst),
        };
        Self {
            label: label.to_owned(),
            cells: Some(cells),
        }
    }

    /// A figure that cannot be measured here.
    #[must_use]
    pub(crate) fn missing(label: &str, why: &str) -> Self {
        Self {
            label: format!("{label} (not measured: {why})"),
            cells: None,
        }
    }
}

/// The table.
#[must_use]
pub(crate) fn render(rows: &[Row]) -> String {
    let mut text = "| figure | runs | p50 | worst |\n|---|---|---|---|\n".to_owned();
    for Row { label, cells } in rows {
        let line = match cells {
            Some(Cells {
                runs,
                median,
                worst,
            }) => format!("| {label} | {runs} | {median} | {worst} |\n"),
            None => format!("| {label} | - | - | - |\n"),
        };
        text.push_str(&line);
    }
    text
}

/// The document with the table between its markers; nothing if it lacks them.
#[must_use]
pub(crate) fn insert(document: &str, table: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_median_and_the_worst_of_its_runs() {
        let times = Row::new("t", &[3.0, 1.0, 2.0], "s", Worst::Largest);
        let rates = Row::new("r", &[3.0, 1.0], "MiB/s", Worst::Smallest);
        let none = Row::missing("x", "no root");
        let lines: Vec<_> = [times, rates, none]
            .iter()
            .map(|row| render(std::slice::from_ref(row)))
            .map(|table| table.lines().last().unwrap().to_owned())
            .collect();
        assert_eq!(
            lines,
            [
                "| t | 3 | 2.00 s | 3.00 s |",
                "| r | 2 | 3.00 MiB/s | 1.00 MiB/s |",
                "| x (not measured: no root) | - | - | - |",
            ]
        );
    }

    #[test]
    fn a_table_replaces_the_one_that_was_there() {
        let document = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let expected = format!("a\n{BEGIN}\nnew\n{END}\nb\n");
        assert_eq!(insert(&document, "new\n"), Some(expected));
        assert_eq!(insert("no markers", "new\n"), None);
    }
}
