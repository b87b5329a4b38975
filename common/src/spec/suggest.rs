//! "Did you mean": the nearest known word to one that isn't known. For field names, parameters and
//! commands.

/// The known word nearest to `word`, if one is near enough to be what was meant.
///
/// Case, hyphens and underscores do not count; otherwise up to a third of the letters may differ
/// (Levenshtein's distance).
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let plain = |text: &str| -> Vec<char> {
        let letters = text.chars().filter(|c| !matches!(c, '-' | '_' | ' '));
        letters.map(|c| c.to_ascii_lowercase()).take(64).collect()
    };
    let word = plain(word);
    let reach = (word.len() / 3).max(1);
    let scored = known.into_iter().map(|candidate| (distance(&word, &plain(candidate)), candidate));
    scored
        .filter(|(score, _)| *score <= reach)
        .min_by_key(|(score, _)| *score)
        .map(|(_, best)| best)
}

fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant_and_nothing_else() {
        let known = ["expose_port", "hosts", "hold", "health_check"];
        assert_eq!(nearest("exposePort", known), Some("expose_port"));
        assert_eq!(nearest("expose-port", known), Some("expose_port"));
        assert_eq!(nearest("host", known), Some("hosts"));
        assert_eq!(nearest("healthcheck", known), Some("health_check"));
        assert_eq!(nearest("replicas", known), None);
        assert_eq!(nearest("", known), None);
    }
}
