//! A known word near an unknown one, for messages.

/// The word of `known` that is nearest to `word` in any case, if it is near enough to be a slip:
/// one change per three letters. `O(words × letters²)`; long words are near nothing.
pub(super) fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    const BYTES_MAX: usize = 32;
    if word.len() > BYTES_MAX {
        return None;
    }
    let word = word.to_ascii_uppercase();
    let from_word = |known: &str| distance(word.as_bytes(), known.to_ascii_uppercase().as_bytes());
    let distances = known.iter().map(|known| (from_word(known), *known));
    let (distance, nearest) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance * 3 <= nearest.len().max(3)).then_some(nearest)
}

/// How many bytes must be changed, added, dropped or swapped with their neighbour to get from
/// one word to the other (optimal string alignment).
fn distance(from: &[u8], to: &[u8]) -> usize {
    let mut before = vec![0; to.len() + 1];
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for i in 0..from.len() {
        let mut row = vec![i + 1; to.len() + 1];
        for j in 0..to.len() {
            let changed = above[j] + usize::from(from[i] != to[j]);
            row[j + 1] = changed.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from[i] == to[j - 1] && from[i - 1] == to[j] {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_their_word() {
        let known = ["BETWEEN", "LIKE", "IN", "TIMESTAMP"];
        assert_eq!(nearest("betwen", &known), Some("BETWEEN"));
        assert_eq!(nearest("LIEK", &known), Some("LIKE"));
        assert_eq!(nearest("TIMESTMAP", &known), Some("TIMESTAMP"));
        assert_eq!(nearest("Prefx", &["suffix", "prefix"]), Some("prefix"));
        assert_eq!(nearest("contains", &known), None);
        assert_eq!(nearest("x", &known), None);
        assert_eq!(nearest(&"LIKE".repeat(9), &known), None);
    }
}
