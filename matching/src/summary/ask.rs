//! What a summary is made of: a selector of one class, kept as text.

use std::fmt;

use crate::filter::Filter;
use crate::normal::Condition;
use crate::selector::Selector;
use crate::topic::TopicFilter;

/// A selector and its class. A predicate is kept as its canonical text, which takes a tenth of the
/// memory of a parsed one; it is parsed again where asks are compared or joined.
///
/// Equal when class, topic filter, exclusions (in their order) and predicate are. Ordered by class
/// and topic filter first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ask {
    class: u8,
    topic: TopicFilter,
    except: Box<[TopicFilter]>,
    predicate: Option<Predicate>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Predicate {
    is_strict: bool,
    text: Box<str>,
}

impl Predicate {
    fn of(filter: &Filter) -> Predicate {
        Predicate { is_strict: filter.is_strict(), text: filter.as_str().into() }
    }

    /// `None` if it cannot be read here.
    fn parse(&self) -> Option<Filter> {
        let parse = if self.is_strict { Filter::parse_strict } else { Filter::parse };
        parse(&self.text).ok()
    }
}

impl Ask {
    /// What `selector` asks for, in a class of the caller's choice. Asks of two classes are never
    /// joined.
    pub fn new(class: u8, selector: &Selector) -> Ask {
        Ask {
            class,
            topic: selector.topic.clone(),
            except: selector.except.clone().into(),
            predicate: selector.predicate.as_ref().map(Predicate::of),
        }
    }

    /// What was asked for in these words. `predicate` is the canonical text of a filter, in strict
    /// mode or not, and `except` is sorted, if equal asks are to be found equal.
    pub fn from_text(
        class: u8,
        topic: TopicFilter,
        except: Vec<TopicFilter>,
        predicate: Option<&str>,
        is_strict: bool,
    ) -> Ask {
        let predicate = predicate.map(|text| Predicate { is_strict, text: text.into() });
        Ask { class, topic, except: except.into(), predicate }
    }

    /// Everything that `topic` matches.
    pub(super) fn all_of(class: u8, topic: TopicFilter) -> Ask {
        Ask { class, topic, except: Box::default(), predicate: None }
    }

    /// The class.
    pub fn class(&self) -> u8 {
        self.class
    }

    /// The topics asked for.
    pub fn topic(&self) -> &TopicFilter {
        &self.topic
    }

    /// Topics left out of those.
    pub fn except(&self) -> &[TopicFilter] {
        &self.except
    }

    /// The canonical text of what an event's attributes must fulfil.
    pub fn predicate(&self) -> Option<&str> {
        self.predicate.as_ref().map(|predicate| &*predicate.text)
    }

    /// Whether the predicate is one in strict mode.
    pub fn is_strict(&self) -> bool {
        self.predicate.as_ref().is_some_and(|predicate| predicate.is_strict)
    }

    /// The selector. `O(bytes)`: a predicate is parsed. A predicate that is no filter here is
    /// dropped, which asks for more.
    pub fn selector(&self) -> Selector {
        Selector {
            topic: self.topic.clone(),
            except: self.except.to_vec(),
            predicate: self.predicate.as_ref().and_then(Predicate::parse),
        }
    }

    /// About the bytes that it takes to say it.
    pub(super) fn bytes(&self) -> usize {
        let except: usize = self.except.iter().map(|filter| filter.as_str().len() + 3).sum();
        32 + self.topic.as_str().len() + self.predicate().map_or(0, str::len) + except
    }

    /// Whether it asks for all events of its topic filter.
    pub(super) fn is_unconditional(&self) -> bool {
        self.except.is_empty() && self.predicate.is_none()
    }

    /// The least ask of a topic filter and class.
    pub(super) fn least(class: u8, topic: &str) -> Ask {
        Ask::all_of(class, TopicFilter::unchecked(topic))
    }

    /// Whether another ask differs in nothing but the predicate.
    pub(super) fn differs_by_predicate(&self, other: &Ask) -> bool {
        (self.class, &self.topic, &self.except) == (other.class, &other.topic, &other.except)
    }

    /// What the attributes must fulfil. `None` if the predicate cannot be read here.
    fn condition(&self) -> Option<Condition<'static>> {
        match &self.predicate {
            None => Some(Condition::Always),
            Some(predicate) => predicate.parse().map(|filter| Condition::of(&filter).into_owned()),
        }
    }

    /// Whether this covers an ask that differs in nothing but the predicate.
    pub(super) fn covers_predicate(&self, other: &Ask) -> bool {
        match (self.condition(), other.condition()) {
            (Some(Condition::Always), _) => true,
            (Some(one), Some(other)) => one.covers(&other),
            _ => false,
        }
    }

    /// An ask for what this and `other` ask for, and more, which differ in nothing but the
    /// predicate. One of the two where it covers the other; `None` where too little is left of
    /// what both ask of attributes.
    pub(super) fn join(&self, other: &Ask) -> Option<Ask> {
        if self.predicate.is_none() || other.predicate.is_none() {
            return Some(Ask { predicate: None, ..self.clone() });
        }
        let (one, two) = self.condition().zip(other.condition())?;
        if one.covers(&two) {
            return Some(self.clone());
        }
        if two.covers(&one) {
            return Some(other.clone());
        }
        let hull = one.hull(&two);
        let hull = Some(hull).filter(Condition::tells_values_apart)?.to_filter()?;
        Some(Ask { predicate: Some(Predicate::of(&hull)), ..self.clone() })
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.class, self.topic)?;
        for except in &self.except {
            write!(f, " except {except}")?;
        }
        match self.predicate() {
            Some(predicate) => write!(f, " where {predicate}"),
            None => Ok(()),
        }
    }
}
