//! The nearest known name, for hints about misspelt ones. Never used to decide anything.

/// The candidate fewest edits away, when it is near enough to be meant.
pub(crate) fn nearest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let near_enough = (text.chars().count() / 3).max(2);
    let measured = candidates.into_iter().map(|candidate| (distance(text, candidate), candidate));
    measured.filter(|(edits, _)| *edits <= near_enough).min().map(|(_, candidate)| candidate)
}

/// "did you mean", or the names there are.
pub(crate) fn suggestion<'c>(
    text: &str,
    what: &str,
    candidates: impl IntoIterator<Item = &'c str> + Clone,
) -> String {
    if let Some(name) = nearest(text, candidates.clone()) {
        return format!("did you mean `{name}`?");
    }
    let known: Vec<&str> = candidates.into_iter().take(12).collect();
    if known.is_empty() {
        format!("no {what} is declared in the configuration")
    } else {
        format!("declared {what}s are `{}`", known.join("`, `"))
    }
}

/// Levenshtein's distance in characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, character) in left.chars().enumerate() {
        let mut diagonal = at;
        let mut before = at + 1;
        let mut next = Vec::with_capacity(row.len());
        next.push(before);
        for (other, above) in right.iter().zip(row.iter().skip(1)) {
            let replaced = diagonal + usize::from(*other != character);
            before = replaced.min(above + 1).min(before + 1);
            next.push(before);
            diagonal = *above;
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn distances_count_single_edits() {
        for (left, right, edits) in [
            ("", "", 0), ("abc", "abc", 0), ("privcy", "privacy", 1), ("prviacy", "privacy", 2), ("kitten", "sitting", 3), ("", "ab", 2),
        ] {
            assert_eq!(distance(left, right), edits, "{left} {right}");
        }
    }

    #[test]
    fn only_near_names_are_suggested() {
        assert_eq!(nearest("privcy", ["sre", "privacy"]), Some("privacy"));
        assert_eq!(nearest("zzzzzz", ["sre", "privacy"]), None);
    }
}
