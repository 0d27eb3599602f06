use super::*;
use crate::filter::Filter;
use crate::generate::Generator;

fn of(text: &str) -> Condition<'static> {
    Condition::of(&Filter::parse(text).unwrap()).into_owned()
}

fn int(number: i64) -> Constant<'static> {
    Constant::Int(number)
}

fn test<'f>(name: &'f str, check: Check<'f>) -> Condition<'f> {
    Condition::Test(Test { field: Field::Name(name.into()), check })
}

/// Each invariant of the form, at each place.
fn check_form(condition: &Condition) {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => {
            assert!(parts.len() >= 2 && parts.is_sorted_by(|a, b| a < b), "{condition:?}");
            for part in parts {
                assert!(!matches!(part, Condition::Always | Condition::Never), "{condition:?}");
                assert_ne!(std::mem::discriminant(part), std::mem::discriminant(condition), "{condition:?}");
                check_form(part);
            }
        }
        Condition::Test(test) => assert_eq!(test.check.clone().normal().as_ref(), Some(&test.check)),
        Condition::Always | Condition::Never | Condition::Other(_) => {}
    }
}

fn size(condition: &Condition) -> usize {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => 1 + parts.iter().map(size).sum::<usize>(),
        Condition::Test(test) => match &test.check {
            Check::OneOf(set) | Check::NoneOf(set) => 1 + set.len(),
            _ => 1,
        },
        _ => 1,
    }
}

#[test]
fn a_condition_holds_where_the_filter_is_true() {
    let filters = if std::env::var_os("FANAL_LONG").is_some() { 200_000 } else { 12_000 };
    const EVENTS: usize = 10;
    let mut counts = [0; 2];
    for seed in 0..filters {
        let mut generator = Generator::new(seed);
        let depth = generator.below(4);
        let filter = generator.filter(depth);
        let condition = Condition::of(&filter);
        check_form(&condition);
        for _ in 0..EVENTS {
            let event = generator.event();
            let wanted = filter.evaluate(&event).is_true();
            counts[usize::from(wanted)] += 1;
            assert_eq!(
                condition.holds(&event),
                wanted,
                "seed {seed}: {filter} is lowered to {condition:?}, {event:?}"
            );
        }
    }
    assert!(counts.iter().all(|count| *count > 20_000), "false and true: {counts:?}");
}

/// A filter that asks the same another way, told apart by no event, need not have the same form;
/// these do.
#[test]
fn spellings_have_one_form() {
    let alike = [
        ["a IN (1, 2)", "a = 2.0 OR 1 = a"],
        ["a = 1", "a IN (1) AND a > 0.5"],
        ["NOT (a < 5)", "a >= 5"],
        ["a BETWEEN 1 AND 5", "a >= 1 AND a <= 5"],
        ["a NOT BETWEEN 1 AND 5", "a < 1 OR a > 5"],
        ["NOT (a AND b)", "a = FALSE OR b != TRUE"],
        ["a != TRUE", "NOT a"],
        ["a LIKE 'x'", "a = 'x'"],
        ["a NOT LIKE 'x'", "a != 'x'"],
        ["a LIKE 'ab%' AND a LIKE 'a%'", "a LIKE 'ab%'"],
        ["a > 1 AND a > 3 AND a != 9 AND a < 9", "a > 3 AND a < 9"],
        ["a >= 1 AND a != 1", "a > 1"],
        ["a < 5 OR a = 5", "a <= 5"],
        ["(a > 1 AND a < 3) OR (a >= 3 AND a < 4)", "(a > 1 AND a < 3) OR (a < 4 AND a >= 3)"],
        ["a BETWEEN 1 AND 1", "a = 1"],
        ["a IS NOT NULL OR a = 5", "EXISTS a"],
        ["EXISTS a AND a = 5", "a = 5"],
        ["NOT (a OR (NOT (b AND c)))", "(a = FALSE) AND c AND b"],
        ["(a = 1 OR b = 1) = FALSE", "a != 1 AND b != 1"],
        ["a = '' OR a > ''", "a LIKE '%'"],
        ["a LIKE '%' AND a LIKE '%x%'", "a LIKE '%x%'"],
    ];
    for [one, other] in alike {
        assert_eq!(of(one), of(other), "{one} and {other}");
    }
}

#[test]
fn what_is_decided_without_an_event_is_known() {
    let never = [
        "FALSE",
        "a = 1 AND a = 2",
        "a > 5 AND a < 5",
        "a > 5 AND a <= 5",
        "a = 1 AND a = 'x'",
        "a > 1 AND a LIKE 'x%'",
        "a LIKE 'x%' AND a LIKE 'y%'",
        "a IN (1, 2) AND a > 2",
        "a IS NULL AND a > 2",
        "a NOT IN (1, 'x')",
        "a AND NOT a",
        "a NOT LIKE '%'",
        "a NOT IN (TRUE, FALSE)",
        "1 = 2",
        "a BETWEEN 5 AND 1",
    ];
    for text in never {
        assert_eq!(of(text), Condition::Never, "{text}");
    }
    for text in ["TRUE", "1 = 1.0", "'x' LIKE '_'", "a IS NULL OR EXISTS a", "NOT FALSE", "2 IN (1, 2)"] {
        assert_eq!(of(text), Condition::Always, "{text}");
    }
}

#[test]
fn leaves_have_their_checks() {
    assert_eq!(of("a"), test("a", Check::OneOf([Constant::Bool(true)].into())));
    assert_eq!(of("a != 1.0"), test("a", Check::NoneOf([int(1)].into())));
    assert_eq!(
        of("a >= 1 AND a < 5"),
        test("a", Check::Range { low: Bound::Included(int(1)), high: Bound::Excluded(int(5)) })
    );
    assert_eq!(of("a LIKE 'x\\%%'"), test("a", Check::Prefix("x%".into())));
    assert_eq!(of("a LIKE '%x'"), test("a", Check::Suffix("x".into())));
    assert_eq!(of("a IS NULL"), test("a", Check::Absent));
    assert_eq!(of("a = -0.0"), test("a", Check::OneOf([int(0)].into())));
    assert_eq!(of("a = 9223372036854775808.0"), test("a", Check::OneOf([Constant::Float(INT_END)].into())));
    assert_eq!(of("a = -9223372036854775808.0"), test("a", Check::OneOf([int(i64::MIN)].into())));
}

#[test]
fn what_has_no_form_is_a_filter_by_itself() {
    let other = |text: &str| Condition::Other(Filter::parse(text).unwrap());
    assert_eq!(of("a = b"), other("a = b"));
    assert_eq!(of("NOT (a = b)"), other("NOT (a = b)"));
    let both = Condition::all(vec![other("NOT (a XOR b)"), test("c", Check::Absent)]);
    assert_eq!(of("c IS NULL AND NOT (a XOR b)"), both);
}

/// The negation of a part takes the place of `= FALSE`, one level deeper than the language goes.
#[test]
fn at_the_bound_of_depth_the_whole_is_kept() {
    for (depth, is_whole) in [(1, false), (62, false), (63, true)] {
        let chains = (0..depth).map(|level| if level % 2 == 0 { "c XOR (" } else { "d AND (" });
        let inner = format!("{}a OR b{}", chains.collect::<String>(), ")".repeat(depth));
        let filter = Filter::parse(&format!("e AND ({inner}) = FALSE")).unwrap();
        assert_eq!(Condition::of(&filter) == Condition::Other(filter.clone()), is_whole, "{depth}");
    }
}

/// The largest filters of each sort: their forms are no larger, and made at once.
#[test]
fn hostile_filters_stay_linear() {
    let wide =
        |parts: usize, part: fn(usize) -> String, by: &str| (0..parts).map(part).collect::<Vec<_>>().join(by);
    let set = wide(1_500, |n| n.to_string(), ", ");
    let texts = [
        wide(1_000, |n| format!("a{n} = {n}"), " OR "),
        wide(500, |n| format!("(a > {n} AND a < {n}.5)"), " OR "),
        format!("a IN ({set}) AND {}", wide(500, |n| format!("a != {n}.5"), " AND ")),
        format!("a NOT IN ({set}) AND {}", wide(300, |n| format!("a NOT LIKE '%x{n}%'"), " AND ")),
        format!("{}a{}", "NOT (b AND (".repeat(20), "))".repeat(20)),
        wide(700, |n| format!("(a{n} XOR b)"), " AND "),
    ];
    for text in &texts {
        let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(size(&Condition::of(&filter)) <= 4 * crate::filter::NODES_MAX, "{text}");
    }
}

#[test]
fn hulls_join_what_is_asked_of_the_same_field() {
    let hull = |one: &str, other: &str| of(one).hull(&of(other)).to_filter().unwrap().to_string();
    assert_eq!(hull("a = 1 AND b = 'x'", "a = 2 AND c"), "a IN (1, 2)");
    assert_eq!(hull("a > 5 AND b = 'x'", "a BETWEEN 1 AND 3 AND b = 'y'"), "a >= 1 AND b IN ('x', 'y')");
    assert_eq!(hull("a LIKE 'abc%'", "a LIKE 'abd%'"), "a LIKE 'ab%'");
    assert_eq!(hull("a LIKE '%xyz'", "a LIKE '%\\_yz'"), "a LIKE '%yz'");
    assert_eq!(hull("a NOT IN (1, 2)", "a NOT IN (2, 3)"), "a != 2");
    assert_eq!(hull("a < 5", "a > 7"), "EXISTS a");
    assert_eq!(hull("a = 'x'", "a LIKE '%b%'"), "a >= ''");
    assert_eq!(hull("(a = 1 AND b) OR (a = 2 AND c)", "a = 3"), "a IN (1, 2, 3)");
    assert_eq!(hull("a = 1", "b = 1"), "TRUE");
    assert_eq!(hull("a = 1 AND a = 2", "b = 1"), "b = 1");
    let many = |from: i64| {
        format!("a IN ({})", (from..from + 20).map(|n| n.to_string()).collect::<Vec<_>>().join(","))
    };
    assert_eq!(hull(&many(0), &many(100)), "a >= 0 AND a <= 119");
}

#[test]
fn a_hull_holds_wherever_a_part_does() {
    let (mut held, mut beyond) = (0, 0);
    for seed in 0..8_000 {
        let mut generator = Generator::new(seed);
        let name = generator.pick(&["n", "s", "b", "w"]);
        let one = if generator.percent(70) { generator.filter_on(name) } else { generator.filter(2) };
        let other = if generator.percent(70) { generator.filter_on(name) } else { generator.filter(2) };
        let hull = Condition::of(&one).hull(&Condition::of(&other));
        let printed = hull.to_filter().unwrap_or_else(|| panic!("seed {seed}: {hull:?} has no text"));
        check_form(&hull);
        for _ in 0..12 {
            let event = generator.event();
            let is_part = one.evaluate(&event).is_true() || other.evaluate(&event).is_true();
            let is_hull = hull.holds(&event);
            assert!(is_hull || !is_part, "seed {seed}: {one} or {other} give {hull:?}, {event:?}");
            assert_eq!(printed.evaluate(&event).is_true(), is_hull, "seed {seed}: {printed} is {hull:?}");
            held += u32::from(is_part);
            beyond += u32::from(!is_hull);
        }
    }
    assert!(held > 20_000 && beyond > 10_000, "held {held}, beyond {beyond}");
}
