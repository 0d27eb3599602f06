//! Which metrics a PromQL expression asks for: its selectors, without parsing the rest.
//!
//! Invariant: whatever is neither function, operator, keyword, number nor in a list of labels counts
//! as a metric, so that a misspelt name is found and not passed over.

use std::collections::BTreeSet;

/// Words between operands.
const WORDS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];
/// Words before a list of labels.
const BEFORE_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// Selectors of an expression, such as `up{job="fanal"}`; ranges are left out.
pub fn selectors(expression: &str) -> BTreeSet<String> {
    let mut rest = expression;
    let mut found = BTreeSet::new();
    while let Some(first) = rest.chars().next() {
        let is_number = first.is_ascii_digit();
        let word: &str = &rest[..word_len(rest)];
        if word.is_empty() {
            rest = match first {
                '[' => after(rest, ']'),
                '"' => after(&rest[1..], '"'),
                _ => &rest[first.len_utf8()..],
            };
            continue;
        }
        rest = &rest[word.len()..];
        let next = rest.trim_start();
        if BEFORE_LABELS.contains(&word) {
            rest = if next.starts_with('(') { after(next, ')') } else { next };
        } else if next.starts_with('{') {
            let end = next.len() - after_matchers(next).len();
            found.insert(format!("{word}{}", &next[..end]));
            rest = &next[end..];
        } else if !is_number && !WORDS.contains(&word) && !next.starts_with('(') && !is_aggregation(word) {
            found.insert(word.to_owned());
        }
    }
    found
}

/// The metric of a selector.
pub fn name(selector: &str) -> &str {
    selector.split('{').next().unwrap_or(selector)
}

fn word_len(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | ':' | '.')).unwrap_or(text.len())
}

/// `sum by (…) (…)`: its name does not stand before a parenthesis.
fn is_aggregation(word: &str) -> bool {
    ["sum", "min", "max", "avg", "count", "topk", "bottomk", "quantile", "group"].contains(&word)
}

fn after(text: &str, end: char) -> &str {
    text.find(end).map_or("", |at| &text[at + end.len_utf8()..])
}

/// Behind the closing brace; one in a quoted value does not count.
fn after_matchers(text: &str) -> &str {
    let mut is_quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => is_quoted = !is_quoted,
            '}' if !is_quoted => return &text[at + 1..],
            _ => {}
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_nothing_else() {
        for (expression, expected) in [
            ("up{job=\"fanal\"} == 0", vec!["up{job=\"fanal\"}"]),
            (
                "sum by (job, instance) (rate(a_total{x!~\"b}|c\"}[5m])) / on (job) group_left () (b > 0.5)",
                vec!["a_total{x!~\"b}|c\"}", "b"],
            ),
            ("histogram_quantile(0.99, sum by (le) (rate(c_bucket[$__rate_interval])))", vec!["c_bucket"]),
            ("predict_linear(d[1h], 4 * 3600) < 0 and r:d:ratio < 1e9", vec!["d", "r:d:ratio"]),
            ("time() - max(e{i=\"$instance\"})", vec!["e{i=\"$instance\"}"]),
            ("min_over_time(abs(f)[30m:1m]) offset 5m", vec!["f"]),
        ] {
            assert_eq!(selectors(expression).into_iter().collect::<Vec<_>>(), expected, "{expression}");
        }
    }
}
