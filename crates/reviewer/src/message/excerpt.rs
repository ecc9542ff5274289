//! A text that is shown whole, or as its two ends with the number of characters between them said.

use serde::Serialize;

/// A text, or its two ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Excerpt {
    Whole {
        text: String,
    },
    /// Nothing can be approved on what is not shown.
    Ends {
        head: String,
        /// Characters between the two ends.
        left_out: usize,
        tail: String,
    },
}

impl Excerpt {
    /// At most `most` characters of the text; never a part of a character.
    pub fn of(text: &str, most: usize) -> Self {
        let characters = text.chars().count();
        if characters <= most {
            return Self::Whole { text: text.to_owned() };
        }
        let (head, tail) = (most - most / 2, most / 2);
        Self::Ends {
            head: text.chars().take(head).collect(),
            left_out: characters - most,
            tail: text.chars().skip(characters - tail).collect(),
        }
    }

    /// The same with at most `most` characters.
    #[must_use]
    pub fn at_most(&self, most: usize) -> Self {
        match self {
            Self::Whole { text } => Self::of(text, most),
            Self::Ends { head, left_out, tail } => {
                let characters = head.chars().count() + tail.chars().count();
                if characters <= most {
                    return self.clone();
                }
                let (first, last) = (most - most / 2, most / 2);
                Self::Ends {
                    head: head.chars().take(first).collect(),
                    left_out: left_out + characters - most,
                    tail: tail.chars().skip(tail.chars().count().saturating_sub(last)).collect(),
                }
            }
        }
    }

    /// What all that is shown of it costs, as `cost` counts a text.
    pub(crate) fn cost(&self, cost: impl Fn(&str) -> usize) -> usize {
        match self {
            Self::Whole { text } => cost(text),
            Self::Ends { head, tail, .. } => cost(head) + cost(tail),
        }
    }

    /// The same, or as much of its ends as costs no more.
    pub(crate) fn fitted(&self, most: usize, cost: impl Fn(&str) -> usize + Copy) -> Self {
        let mut fitted = self.clone();
        let mut characters = most;
        while fitted.cost(cost) > most && characters > 0 {
            characters = characters * 3 / 4;
            fitted = self.at_most(characters);
        }
        fitted
    }

    pub const fn is_whole(&self) -> bool {
        matches!(self, Self::Whole { .. })
    }

    pub(super) fn show(self, title: &str, parts: &mut Vec<Shown>) {
        match self {
            Self::Whole { text } => parts.extend([Shown::Title(title.to_owned()), Shown::Text(text)]),
            Self::Ends { head, left_out, tail } => {
                let (title, gap) = (
                    format!("{title}, its beginning"),
                    format!("{left_out} characters are not shown here. Its end"),
                );
                parts.extend([Shown::Title(title), Shown::Text(head), Shown::Gap(gap), Shown::Text(tail)]);
            }
        }
    }
}

/// A part of what a reader sees of the bytes that will run, from top to bottom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Our own words over the text that follows.
    Title(String),
    /// The bytes as text. A channel that has markup of its own escapes it.
    Text(String),
    /// Our own words that must not be missed: how much is left out between two texts.
    Gap(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_out_without_its_number() {
        for (text, most, want) in [
            ("", 4, Excerpt::Whole { text: String::new() }),
            ("ab🎈d", 4, Excerpt::Whole { text: "ab🎈d".into() }),
            ("ab🎈de", 4, Excerpt::Ends { head: "ab".into(), left_out: 1, tail: "de".into() }),
            ("äöüß🎈", 3, Excerpt::Ends { head: "äö".into(), left_out: 2, tail: "🎈".into() }),
            ("ab", 0, Excerpt::Ends { head: String::new(), left_out: 2, tail: String::new() }),
        ] {
            assert_eq!(Excerpt::of(text, most), want, "{text} {most}");
        }
    }
}
