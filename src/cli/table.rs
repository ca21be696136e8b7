//! Tables with aligned columns.

use std::fmt;

use anstyle::Style;
use unicode_width::UnicodeWidthStr;

use crate::output::HEADING;

/// One field of a table.
#[derive(Debug)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(crate) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: text.into(),
            style,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::new())
    }
}

/// Rows below headings. Each column is as wide as its widest field.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Returns a table without rows. A column without a heading has an empty one.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let heading = |text: &&str| Cell::styled(*text, HEADING);
        Self {
            rows: vec![headings.iter().map(heading).collect()],
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.text.width().max(*width);
            }
        }
        for row in &self.rows {
            // No spaces at the end of a line.
            let used = row.iter().rposition(|cell| !cell.text.is_empty());
            for (column, cell) in row.iter().enumerate().take(used.map_or(0, |last| last + 1)) {
                let style = cell.style;
                write!(f, "{style}{}{style:#}", cell.text)?;
                if Some(column) != used {
                    let padding = widths[column] - cell.text.width() + 2;
                    write!(f, "{:padding$}", "")?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_width_and_lines_have_no_spaces_at_their_end() {
        let mut table = Table::new(&["NAME", "AGE", "VALUE"]);
        table.row(["日本".into(), Cell::styled("5s", HEADING), "".into()]);
        table.row(["a".into(), "".into(), "x".into()]);
        let plain = anstream::adapter::strip_str(&table.to_string()).to_string();
        assert_eq!(plain, "NAME  AGE  VALUE\n日本  5s\na          x\n");
    }
}
