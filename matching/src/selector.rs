//! What one subscription asks for.
//!
//! 1. An event is wanted when the topic filter matches, no exclusion does, and the predicate, if
//!    there is one, is true; unknown is not true.
//! 2. The parts are checked before: a selector that exists is valid.

use crate::filter::{Explanation, Filter};
use crate::topic::{Topic, TopicFilter};
use crate::value::Attributes;

/// A topic filter, exclusions and an optional predicate.
///
/// Equal when topic filter, exclusions (in their order) and the predicate's canonical text are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    /// The topics asked for.
    pub topic: TopicFilter,
    /// Topics left out of those.
    pub except: Vec<TopicFilter>,
    /// What an event's attributes must fulfil.
    pub predicate: Option<Filter>,
}

impl Selector {
    /// A selector for all events of `topic`, without exclusions and predicate.
    pub fn new(topic: TopicFilter) -> Selector {
        Selector { topic, except: Vec::new(), predicate: None }
    }

    /// Whether `topic` is asked for and not left out. `O((1 + exclusions) × levels)`.
    pub fn matches_topic(&self, topic: &Topic) -> bool {
        self.topic.matches(topic) && !self.excludes(topic)
    }

    /// Whether the event is wanted: the plain answer, without an index.
    pub fn matches<A: Attributes + ?Sized>(&self, topic: &Topic, event: &A) -> bool {
        self.matches_topic(topic) && is_fulfilled(self.predicate.as_ref(), event)
    }

    /// Why the event is wanted or not: each part, whatever the others say.
    pub fn explain<'a, A: Attributes + ?Sized>(&'a self, topic: &Topic, event: &'a A) -> Verdict<'a> {
        Verdict {
            topic: self.topic.matches(topic),
            excluded_by: self.except.iter().filter(|filter| filter.matches(topic)).collect(),
            predicate: self.predicate.as_ref().map(|filter| filter.explain(event)),
        }
    }

    /// Whether an exclusion leaves `topic` out.
    pub(crate) fn excludes(&self, topic: &Topic) -> bool {
        self.except.iter().any(|filter| filter.matches(topic))
    }
}

/// What each part of a [`Selector`] says about one event.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict<'a> {
    /// Whether the topic filter matches.
    pub topic: bool,
    /// The exclusions that leave the topic out.
    pub excluded_by: Vec<&'a TopicFilter>,
    /// What the predicate says, if there is one.
    pub predicate: Option<Explanation<'a>>,
}

impl Verdict<'_> {
    /// Whether the event is wanted: what [`Selector::matches`] says.
    pub fn is_wanted(&self) -> bool {
        let is_fulfilled = self.predicate.as_ref().is_none_or(|explanation| explanation.truth.is_true());
        self.topic && self.excluded_by.is_empty() && is_fulfilled
    }
}

/// Whether `predicate` is absent or true.
pub(crate) fn is_fulfilled<A: Attributes + ?Sized>(predicate: Option<&Filter>, event: &A) -> bool {
    predicate.is_none_or(|filter| filter.evaluate(event).is_true())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    #[test]
    fn exclusions_take_away_from_the_topic_filter() {
        let mut selector = Selector::new(TopicFilter::parse("a/#").unwrap());
        selector.except.push(TopicFilter::parse("a/b/#").unwrap());
        let matches = |topic| selector.matches_topic(&Topic::parse(topic).unwrap());
        assert!(matches("a") && matches("a/c"));
        assert!(!matches("a/b") && !matches("a/b/c") && !matches("c"));
    }

    #[test]
    fn a_verdict_names_what_turned_the_event_away() {
        let mut selector = Selector::new(TopicFilter::parse("a/#").unwrap());
        selector.except = ["a/b/#", "+/b/c"].map(|text| TopicFilter::parse(text).unwrap()).to_vec();
        selector.predicate = Some(Filter::parse("n > 1").unwrap());
        let verdict = |topic: &str, n| {
            let (topic, event) = (Topic::parse(topic).unwrap(), [("n", Value::Int(n))]);
            let verdict = selector.explain(&topic, &event);
            assert_eq!(verdict.is_wanted(), selector.matches(&topic, &event));
            let excluded_by: Vec<String> = verdict.excluded_by.iter().map(ToString::to_string).collect();
            (verdict.topic, excluded_by.join(" "), verdict.predicate.unwrap().truth.is_true())
        };
        assert_eq!(verdict("a/c", 2), (true, String::new(), true));
        assert_eq!(verdict("a/b/c", 1), (true, "a/b/# +/b/c".to_owned(), false));
        assert_eq!(verdict("c/b", 2), (false, String::new(), true));
    }

    #[test]
    fn an_unknown_predicate_does_not_match() {
        let mut selector = Selector::new(TopicFilter::parse("a").unwrap());
        selector.predicate = Some(Filter::parse("n > 1").unwrap());
        let topic = Topic::parse("a").unwrap();
        assert!(selector.matches(&topic, &[("n", Value::Int(2))]));
        assert!(!selector.matches(&topic, &[("n", Value::Int(1))]));
        assert!(!selector.matches(&topic, &[("m", Value::Int(2))]));
    }
}
