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
    /// The predicate is refused.
    #[error("filter refused at {0}")]
    Filter(FilterError),
}

/// Most exclusions of one subscription.
const EXCEPT_MAX: usize = 64;

/// Checks what a subscription asks for, and brings it into canonical form: two asks that mean the same
/// by PROTOCOL.md 4.2 are equal. O(size of the ask).
///
/// # Errors
/// [`AskError`]; the first fault in the order exclusions' number, predicate, topic filter, exclusions.
pub fn parse_ask(
    filter: &str,
    predicate: Option<&str>,
    except: &[String],
) -> Result<(Ask, Selector), AskError> {
    let topic = |text: &str| {
        TopicFilter::parse(text).map_err(|source| AskError::Topic { filter: text.to_owned(), source })
    };
    if except.len() > EXCEPT_MAX {
        return Err(AskError::TooManyExclusions { got: except.len() });
    }
    let predicate = predicate.map(Filter::parse).transpose().map_err(AskError::Filter)?;
    let mut sorted: Vec<String> = except.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let selector = Selector {
        topic: topic(filter)?,
        except: sorted.iter().map(|text| topic(text)).collect::<Result<_, _>>()?,
        predicate,
    };
    let ask = Ask {
        filter: filter.to_owned(),
        predicate: selector.predicate.as_ref().map(|predicate| predicate.to_string()),
        except: sorted,
    };
    Ok((ask, selector))
}
