use std::time::{Duration, Instant};

use super::*;
use crate::generate::Generator;

fn filter(text: &str) -> Filter {
    Filter::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

fn selector(topic: &str, except: &[&str], predicate: Option<&str>) -> Selector {
    Selector {
        topic: TopicFilter::parse(topic).unwrap(),
        except: except.iter().map(|text| TopicFilter::parse(text).unwrap()).collect(),
        predicate: predicate.map(filter),
    }
}

/// Pairs of which the first covers the second.
const COVERED: &[[&str; 2]] = &[
    ["TRUE", "n = 1"],
    ["n = 1", "FALSE"],
    ["n > 1", "n > 1"],
    ["n > 1", "n > 1.5"],
    ["n >= 1", "n > 1"],
    ["n > 1", "n BETWEEN 2 AND 3"],
    ["n > 1", "n IN (2, 3, 4)"],
    ["n BETWEEN 1 AND 9", "n > 1 AND n < 9"],
    ["n BETWEEN 1 AND 9", "n = 5 AND s = 'x'"],
    ["n IN (1, 2, 3)", "n IN (3, 1)"],
    ["n IN (1, 2, 3)", "n = 2.0"],
    ["n != 1", "n > 1"],
    ["n != 1", "n NOT IN (1, 2)"],
    ["n != 1", "n = 2"],
    ["n NOT IN (1, 20)", "n BETWEEN 2 AND 19"],
    ["EXISTS n", "n != 1"],
    ["EXISTS n", "n LIKE '%x%'"],
    ["n IS NULL", "n IS NULL AND m = 1"],
    ["s LIKE 'a%'", "s LIKE 'ab%'"],
    ["s LIKE 'a%'", "s = 'abc'"],
    ["s LIKE 'a%'", "s IN ('a', 'ab')"],
    ["s LIKE 'a%'", "s LIKE 'ab_c%d'"],
    ["s LIKE 'ab%'", "s >= 'ab' AND s < 'ac'"],
    ["s LIKE 'ab%'", "s BETWEEN 'abc' AND 'abd'"],
    ["s >= 'ab' AND s < 'ac'", "s LIKE 'ab%'"],
    ["s < 'b'", "s LIKE 'a%'"],
    ["s < 'b'", "s LIKE 'a%x'"],
    ["s LIKE '%b'", "s LIKE '%ab'"],
    ["s LIKE '%b%'", "s LIKE 'a%abc'"],
    ["s LIKE 'a%c%'", "s LIKE 'ab_cd'"],
    ["s LIKE '%_'", "s LIKE '%a'"],
    ["s LIKE '%'", "s != 'x'"],
    ["s LIKE '%'", "s NOT LIKE '%x_'"],
    ["s LIKE '%'", "s > 'x'"],
    ["s != 'abc'", "s LIKE 'x%'"],
    ["s != 'abc'", "s NOT LIKE 'ab%'"],
    ["s NOT LIKE 'ab%'", "s NOT LIKE 'a%'"],
    ["s NOT LIKE 'ab%'", "s LIKE 'b%'"],
    ["s NOT LIKE '%x_y'", "s LIKE '%z'"],
    ["b", "b = TRUE AND n > 1"],
    ["NOT b", "b != TRUE"],
    ["w > TIMESTAMP('2024-01-01T00:00:00Z')", "w > TIMESTAMP('2024-01-01T00:00:00.5Z')"],
    ["n > 1 AND s = 'x'", "n > 2 AND s = 'x' AND b"],
    ["n > 1 OR s = 'x'", "n > 2"],
    ["n > 1 OR s = 'x'", "(n > 2 AND b) OR (s = 'x' AND m = 1)"],
    ["n > 1 OR s = 'x'", "s = 'x' OR n = 3"],
    ["n = 1 OR m = 1", "n IN (1) AND m > 5"],
    ["n < 5 OR n > 10", "n IN (1, 20)"],
    ["(n = 1 AND s = 'x') OR (n = 2 AND s = 'x')", "n IN (1, 2) AND s = 'x'"],
    ["(b AND n = 1) OR (b AND s = 'x')", "b AND (n = 1 OR s = 'x')"],
    ["NOT (n = 1 AND s = 'x')", "n != 1"],
    ["n = m", "n = m AND b"],
    ["(n XOR b) OR s = 'x'", "n XOR b"],
];

/// Pairs of which the first does not cover the second.
const NOT_COVERED: &[[&str; 2]] = &[
    ["n = 1", "TRUE"],
    ["n > 1", "n >= 1"],
    ["n > 1", "m > 1"],
    ["n > 1", "EXISTS n"],
    ["n != 1", "EXISTS n"],
    ["n != 1", "s = 'x'"],
    ["n != 1", "n != 2"],
    ["n NOT IN (1, 20)", "n BETWEEN 2 AND 20"],
    ["n < 'x'", "n < 5"],
    ["n IN (1, 2)", "n IN (2, 3)"],
    ["n < 5 OR n >= 5", "EXISTS n"],
    ["s LIKE 'ab%'", "s LIKE 'a%'"],
    ["s LIKE 'ab%'", "s >= 'ab' AND s <= 'ac'"],
    ["s LIKE '%b%c'", "s LIKE 'b%'"],
    ["s LIKE 'a_%'", "s LIKE 'a%'"],
    ["s LIKE 'a%b'", "s LIKE 'a%' AND s LIKE '%b'"],
    ["s NOT LIKE 'ab%'", "s LIKE 'a%'"],
    ["s NOT LIKE 'a%'", "s NOT LIKE 'ab%'"],
    ["s NOT LIKE 'a%'", "n = 1"],
    ["s < 'ab'", "s LIKE 'a%'"],
    ["n > 1 AND b", "n > 1"],
    ["n > 1", "n > 1 OR b"],
    ["b", "NOT b"],
];

#[test]
fn plain_cases_are_found() {
    for [wide, narrow] in COVERED {
        assert!(filter(wide).covers(&filter(narrow)), "{wide} covers {narrow}");
    }
    for [wide, narrow] in NOT_COVERED {
        assert!(!filter(wide).covers(&filter(narrow)), "{wide} does not cover {narrow}");
    }
}

#[test]
fn the_end_of_a_prefix_is_the_least_text_above() {
    let text = |text: &'static str| Bound::Excluded(Constant::Str(text.into()));
    assert_eq!(end_of_prefix("ab"), text("ac"));
    assert_eq!(end_of_prefix("\u{d7ff}"), text("\u{e000}"));
    assert_eq!(end_of_prefix("a\u{10ffff}\u{10ffff}"), text("b"));
    assert_eq!(end_of_prefix("\u{10ffff}"), Bound::Open);
}

#[test]
fn selectors_cover_by_topics_exclusions_and_predicates() {
    let covered = [
        (selector("#", &[], None), selector("a/+", &["a/b"], Some("n = 1"))),
        (selector("a/#", &["a/b/#"], None), selector("a/c/#", &[], None)),
        (selector("a/#", &["a/b/#"], None), selector("a/#", &["a/b/#"], None)),
        (selector("a/#", &["a/b/c"], None), selector("a/#", &["a/+/c"], None)),
        (selector("a/+", &["+/b"], None), selector("a/+", &["a/b", "a/c"], None)),
        (selector("x", &[], Some("n = 1")), selector("a", &["#"], None)),
        (selector("a", &[], Some("TRUE")), selector("a", &[], None)),
        (selector("a", &[], Some("n > 1")), selector("a", &[], Some("n > 2"))),
    ];
    for (wide, narrow) in &covered {
        assert!(wide.covers(narrow), "{wide:?} covers {narrow:?}");
    }
    let open = [
        (selector("#", &[], None), selector("$a/b", &[], None)),
        (selector("a/#", &["a/b/#"], None), selector("a/#", &[], None)),
        (selector("a/#", &["a/b/#"], None), selector("a/#", &["a/b"], None)),
        (selector("a", &[], Some("n = 1")), selector("a", &[], None)),
        (selector("a/b", &[], None), selector("a/+", &[], None)),
    ];
    for (wide, narrow) in &open {
        assert!(!wide.covers(narrow), "{wide:?} does not cover {narrow:?}");
    }
}

/// Pairs that are near each other, and events at their edges: no yes is wrong. The counts say
/// that the yes is given often and that the events could have told.
#[test]
fn a_yes_is_never_wrong() {
    let pairs = if std::env::var_os("FANAL_LONG").is_some() { 200_000 } else { 12_000 };
    const EVENTS: usize = 24;
    let (mut covered, mut matched) = (0, 0);
    for seed in 0..pairs {
        let mut generator = Generator::new(seed);
        let (wide, narrow) = near_pair(&mut generator);
        if !wide.covers(&narrow) {
            continue;
        }
        covered += u64::from(wide != narrow);
        for _ in 0..EVENTS {
            let event = generator.event();
            if narrow.evaluate(&event).is_true() {
                matched += 1;
                assert!(
                    wide.evaluate(&event).is_true(),
                    "seed {seed}: {wide} covers {narrow}, but for {event:?}"
                );
            }
        }
    }
    assert!(covered > 2_500 && matched > 15_000, "covered {covered}, matched {matched}");
}

fn near_pair(generator: &mut Generator) -> (Filter, Filter) {
    let wide = generator.filter(2);
    let depth = generator.below(2);
    let other = generator.filter(depth);
    let narrow = match generator.below(4) {
        0 => filter(&format!("({wide}) AND ({other})")),
        1 => generator.filter(1),
        2 => filter(&format!("({other}) AND ({})", generator.filter(1))),
        _ => return (filter(&format!("({wide}) OR ({other})")), other),
    };
    if generator.percent(50) { (wide, narrow) } else { (other, narrow) }
}

/// Of simple tests on one name: if no event of all the values there are speaks against it, how
/// often is covering found?
#[test]
fn most_of_what_is_covered_is_found() {
    const PAIRS: u64 = 30_000;
    let (mut found, mut true_of_all) = (0_u32, 0_u32);
    for seed in 0..PAIRS {
        let mut generator = Generator::new(seed);
        let name = generator.pick(&["n", "s", "b", "w"]);
        let (wide, narrow) = (generator.filter_on(name), generator.filter_on(name));
        let mut events: Vec<_> = (0..60).map(|_| vec![(name, generator.value(name))]).collect();
        events.push(Vec::new());
        let seems = events.iter().all(|e| wide.evaluate(e).is_true() || !narrow.evaluate(e).is_true());
        let is_found = wide.covers(&narrow);
        assert!(seems || !is_found, "seed {seed}: {wide} covers {narrow}");
        // A narrow filter that no event matches proves nothing.
        if seems && events.iter().any(|e| narrow.evaluate(e).is_true()) {
            true_of_all += 1;
            found += u32::from(is_found);
        }
    }
    let percent = found * 100 / true_of_all;
    assert!(percent >= 75, "{found} of {true_of_all} are found: {percent}%");
}

#[test]
fn selectors_cover_soundly() {
    let mut covered = 0;
    for seed in 0..6_000 {
        let mut generator = Generator::new(seed);
        let (mut wide, narrow) = (generator.selector(), generator.selector());
        if generator.percent(70) {
            wide.predicate = narrow.predicate.clone().filter(|_| generator.percent(50));
        }
        if !wide.covers(&narrow) {
            continue;
        }
        covered += 1;
        for _ in 0..40 {
            let (topic, event) = (generator.topic(), generator.event());
            let is_wanted = narrow.matches(&topic, &event);
            assert!(!is_wanted || wide.matches(&topic, &event), "seed {seed}: {wide:?} {narrow:?} {topic}");
        }
    }
    assert!(covered > 150, "covered {covered}");
}

/// Filters made to be compared at length.
#[test]
fn covering_is_bounded() {
    let wide =
        |parts: usize, part: fn(usize) -> String, by: &str| (0..parts).map(part).collect::<Vec<_>>().join(by);
    let filters = [
        wide(600, |n| format!("a{n} = {n} OR b > {n}"), " OR "),
        wide(500, |n| format!("(a{n} OR b{n})"), " AND "),
        wide(500, |n| format!("a NOT LIKE '%{n}_x%'"), " AND "),
        format!("a NOT LIKE '{}' AND b", "%a_".repeat(2_000)),
        format!("a LIKE '{}b'", "%a_".repeat(2_000)),
        format!("a IN ({})", wide(1_500, |n| n.to_string(), ", ")),
        wide(300, |n| format!("(a > {n} AND c{n} < {n}.5)"), " OR "),
        wide(300, |n| format!("(a > {n} OR c{n} < {n}.5)"), " AND "),
    ]
    .map(|text| filter(&text));
    let began = Instant::now();
    for one in &filters {
        assert!(filters.iter().filter(|other| one.covers(other)).count() >= 1);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
