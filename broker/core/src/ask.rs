//! What a subscription asks for: from text to a selector, and to what peers are told.
//!
//! Invariant: an [`Ask`] that was made here is canonical: its predicate is the printed form of what was
//! parsed, its exclusions are sorted and stand once. So asks can be compared as text.

use fanal_matching::{Filter, FilterError, Selector, TopicError, TopicFilter};
use fanal_protocol::control::{INTEREST_DURABLE, INTEREST_LIVE, InterestEntry};

use crate::home::Ask;

/// An ask as it travels to peers.
pub fn interest_entry(ask: &Ask, class: u8) -> InterestEntry {
    debug_assert!(class == INTEREST_DURABLE || class == INTEREST_LIVE);
    InterestEntry {
        id: 0,
        class,
        filter: ask.filter.clone(),
        predicate: ask.predicate.clone(),
        except: ask.except.clone(),
        strict: ask.strict.clone(),
    }
}

/// Why what was asked for is no selector.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// A topic filter, or one of the exclusions, is none.
    #[error("topic filter '{filter}': {source}{}", source.caret(filter).map(|caret| format!("\n{caret}")).unwrap_or_default())]
    Topic {
        /// As it was given.
        filter: String,
        /// What is wrong with it.
        source: TopicError,
    },
    /// Too many exclusions.
    #[error("{got} exclusions: at most {EXCEPT_MAX} are allowed")]
    TooManyExclusions {
        /// How many were given.
        got: usize,
    },
    /// A predicate in each mode.
    #[error("a predicate in default mode and one in strict mode: a subscription has one, give one of them")]
    TwoPredicates,
    /// The predicate is refused.
    #[error("filter refused at {0}")]
    Filter(FilterError),
}

/// Most exclusions of one subscription.
const EXCEPT_MAX: usize = 64;

/// Checks what a subscription asks for, and brings it into canonical form: two asks that mean the same
/// by PROTOCOL.md 4.2 are equal. `strict` is a predicate in strict mode, in place of `predicate`.
/// O(size of the ask).
///
/// # Errors
/// [`AskError`]; the first fault in the order exclusions' number, predicate, topic filter, exclusions.
pub fn parse_ask(
    filter: &str,
    predicate: Option<&str>,
    strict: Option<&str>,
    except: &[String],
) -> Result<(Ask, Selector), AskError> {
    let topic = |text: &str| {
        TopicFilter::parse(text).map_err(|source| AskError::Topic { filter: text.to_owned(), source })
    };
    if except.len() > EXCEPT_MAX {
        return Err(AskError::TooManyExclusions { got: except.len() });
    }
    let predicate = match (predicate, strict) {
        (Some(_), Some(_)) => return Err(AskError::TwoPredicates),
        (predicate, None) => predicate.map(Filter::parse),
        (None, strict) => strict.map(Filter::parse_strict),
    };
    let predicate = predicate.transpose().map_err(AskError::Filter)?;
    let mut sorted: Vec<String> = except.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let selector = Selector {
        topic: topic(filter)?,
        except: sorted.iter().map(|text| topic(text)).collect::<Result<_, _>>()?,
        predicate,
    };
    let canonical = |is_strict: bool| {
        let predicate = selector.predicate.as_ref().filter(|predicate| predicate.is_strict() == is_strict);
        predicate.map(|predicate| predicate.as_str().to_owned())
    };
    let ask = Ask {
        filter: filter.to_owned(),
        predicate: canonical(false),
        except: sorted,
        strict: canonical(true),
    };
    Ok((ask, selector))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(predicate: Option<&str>, strict: Option<&str>) -> Ask {
        parse_ask("t/#", predicate, strict, &[]).unwrap().0
    }

    #[test]
    fn the_same_text_in_another_mode_is_another_ask() {
        let (default, strict) = (ask(Some("a=1"), None), ask(None, Some("a=1")));
        assert_eq!((default.any_predicate(), strict.any_predicate()), (Some("a = 1"), Some("a = 1")));
        assert_ne!(default, strict);
        assert_eq!(strict, ask(None, strict.any_predicate()));
        assert!(matches!(parse_ask("t", Some("a"), Some("a"), &[]), Err(AskError::TwoPredicates)));
        assert!(matches!(parse_ask("t", None, Some("a IS NULL"), &[]), Err(AskError::Filter(_))));
    }

    /// As a peer sees it that knows no strict mode: it asks for more, and the digests agree.
    #[test]
    fn an_ask_in_strict_mode_is_a_superset_without_its_key() {
        use fanal_protocol::control::interest_digest;
        let entry = interest_entry(&ask(None, Some("a = 1")), INTEREST_LIVE);
        assert_eq!((&entry.predicate, entry.strict.as_deref()), (&None, Some("a = 1")));
        let seen = InterestEntry { strict: None, ..entry.clone() };
        assert_eq!(seen, interest_entry(&ask(None, None), INTEREST_LIVE));
        assert_eq!(interest_digest([&seen]), interest_digest([&entry]));
    }
}
