//! The table that is printed at the end. What stands in it is measured in `figures`.

/// One line of the table.
pub(crate) struct Row {
    figure: String,
    measured: String,
    peer: &'static str,
    aim: &'static str,
    how: String,
}

impl Row {
    /// A figure that peers were measured by as well.
    pub(crate) fn figure(name: &str, measured: String, peer: &'static str, aim: &'static str, how: String) -> Self {
        Self { figure: name.to_owned(), measured, peer, aim, how }
    }

    /// What explains the figure above it.
    pub(crate) fn detail(name: &str, measured: String, how: String) -> Self {
        Self { figure: format!("  {name}"), measured, peer: "", aim: "", how }
    }

    fn cells(&self) -> [&str; 5] {
        [&self.figure, &self.measured, self.peer, self.aim, &self.how]
    }
}

const HEAD: [&str; 5] = ["figure", "measured", "best peer", "aim", "how"];

/// All rows below each other, each column as wide as its widest cell.
pub(crate) fn table(rows: &[Row]) -> String {
    let lines: Vec<[&str; 5]> = std::iter::once(HEAD).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [
            Row::figure("long name", "1 ms".to_owned(), "2 ms", "3 ms", "n = 4".to_owned()),
            Row::detail("part", "5 ms".to_owned(), "n = 6".to_owned()),
        ];
        let table = table(&rows);
        let places: Vec<usize> = ["measured", "1 ms", "5 ms"]
            .iter()
            .zip(table.lines())
            .map(|(cell, line)| line.find(cell).unwrap())
            .collect();
        assert_eq!(places, [11, 11, 11]);
    }
}
