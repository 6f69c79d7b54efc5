//! A line of a screen: pieces in colours, cut to the width of the terminal.

use crate::cli::screen::{Paint, Style, bar_pieces};
use unicode_width::UnicodeWidthChar;

/// Stands for what was cut off.
const CUT: char = '…';

/// A line that is being put together.
#[derive(Clone, Debug, Default)]
pub struct Line(Vec<(Option<Paint>, String)>);

impl Line {
    /// A line that begins so.
    pub fn of(paint: Option<Paint>, text: impl Into<String>) -> Line {
        Line::default().and(paint, text)
    }

    /// The line with this after it.
    pub fn and(mut self, paint: Option<Paint>, text: impl Into<String>) -> Line {
        self.0.push((paint, text.into()));
        self
    }

    /// With a bar that is filled to `part` of `whole`, and a blank; nothing in plain text.
    pub fn and_bar(self, columns: usize, part: u64, whole: u64, style: Style) -> Line {
        if style == Style::Plain || columns == 0 {
            return self;
        }
        let (filled, empty) = bar_pieces(columns, part, whole);
        self.and(Some(Paint::Green), filled).and(Some(Paint::Dim), empty).and(None, " ")
    }

    /// The line in no more columns than these, without blanks at its end.
    pub fn fitted(&self, columns: usize, style: Style) -> String {
        let whole = self.0.iter().map(|(_, text)| width(text)).sum::<usize>();
        let mut left = if whole > columns { columns.saturating_sub(1) } else { columns };
        let mut shown = String::new();
        for (paint, text) in &self.0 {
            let text = cut(text, left);
            left -= width(&text);
            shown += &paint.map_or_else(|| text.clone(), |paint| style.paint(paint, &text));
        }
        if whole > columns && columns > 0 {
            shown.push(CUT);
        }
        shown.trim_end().to_owned()
    }
}

/// Columns of a text on a terminal. What is no character to look at takes one, see [`cut`].
pub fn width(text: &str) -> usize {
    text.chars().map(|char| char.width().unwrap_or(1)).sum()
}

/// The text padded to a number of columns.
pub fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// As much of the text as fits. File names may hold anything, also orders to the terminal: these are
/// shown as question marks.
fn cut(text: &str, columns: usize) -> String {
    let mut left = columns;
    let mut shown = String::new();
    for char in text.chars() {
        let wide = char.width().unwrap_or(1);
        if wide > left {
            break;
        }
        left -= wide;
        shown.push(if char.width().is_none() { '?' } else { char });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_to_the_width() {
        let line = Line::of(Some(Paint::Bold), "units").and(None, "  src/a.cpp");
        assert_eq!(line.fitted(80, Style::Plain), "units  src/a.cpp");
        assert_eq!(line.fitted(16, Style::Plain), "units  src/a.cpp");
        assert_eq!(line.fitted(15, Style::Plain), "units  src/a.c…");
        assert_eq!(line.fitted(3, Style::Terminal), "\x1b[1mun\x1b[0m…");
        assert_eq!(
            (line.fitted(1, Style::Plain), line.fitted(0, Style::Plain)),
            ("…".into(), String::new())
        );
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let line = Line::of(None, "源码.cpp");
        assert_eq!(line.fitted(8, Style::Plain), "源码.cpp");
        assert_eq!(line.fitted(4, Style::Plain), "源…");
        assert_eq!(padded("源", 4), "源  ");
    }

    #[test]
    fn names_give_no_orders_to_the_terminal() {
        let line = Line::of(None, "a\x1b[2J\n.c");
        assert_eq!(line.fitted(80, Style::Terminal), "a?[2J?.c");
    }
}
