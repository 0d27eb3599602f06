//! Conditions by themselves: with texts that are borrowed from no filter.

use super::{Bound, Check, Condition, Constant, Field, Set, Test};

impl Condition<'_> {
    /// The same with texts of its own. `O(its size)`.
    pub(crate) fn into_owned(self) -> Condition<'static> {
        let all = |parts: Vec<Self>| parts.into_iter().map(Condition::into_owned).collect();
        match self {
            Condition::Always => Condition::Always,
            Condition::Never => Condition::Never,
            Condition::Test(Test { field: Field::Name(name), check }) => {
                let field = Field::Name(name.into_owned());
                Condition::Test(Test { field, check: check.into_owned() })
            }
            Condition::Other(filter) => Condition::Other(filter),
            Condition::All(parts) => Condition::All(all(parts)),
            Condition::Any(parts) => Condition::Any(all(parts)),
        }
    }
}

impl Check<'_> {
    fn into_owned(self) -> Check<'static> {
        let all = |set: Set<'_>| set.into_iter().map(Constant::into_owned).collect();
        match self {
            Check::OneOf(set) => Check::OneOf(all(set)),
            Check::NoneOf(set) => Check::NoneOf(all(set)),
            Check::Range { low, high } => Check::Range { low: low.into_owned(), high: high.into_owned() },
            Check::Prefix(text) => Check::Prefix(text.into_owned()),
            Check::Suffix(text) => Check::Suffix(text.into_owned()),
            Check::Like { pattern, negated } => Check::Like { pattern, negated },
            Check::Present => Check::Present,
            Check::Absent => Check::Absent,
        }
    }
}

impl Bound<'_> {
    fn into_owned(self) -> Bound<'static> {
        match self {
            Bound::Open => Bound::Open,
            Bound::Included(constant) => Bound::Included(constant.into_owned()),
            Bound::Excluded(constant) => Bound::Excluded(constant.into_owned()),
        }
    }
}

impl Constant<'_> {
    fn into_owned(self) -> Constant<'static> {
        match self {
            Constant::Bool(known) => Constant::Bool(known),
            Constant::Int(number) => Constant::Int(number),
            Constant::Float(number) => Constant::Float(number),
            Constant::Str(text) => Constant::Str(text.into_owned()),
            Constant::Timestamp(timestamp) => Constant::Timestamp(timestamp),
        }
    }
}
