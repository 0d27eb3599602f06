//! Topics and topic filters: which texts are taken, and which topics a filter matches.
//!
//! Both agree with a plain reading of PROTOCOL.md 4.1 over lists of levels. The input is a topic
//! filter and a topic with a line end between them.
#![no_main]

use fanal_matching::topic::{TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX};
use fanal_matching::{Topic, TopicFilter};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (filter_text, topic_text) = text.split_once('\n').unwrap_or((text, text));
    let (filter, topic) = (TopicFilter::parse(filter_text), Topic::parse(topic_text));
    assert_eq!(filter.is_ok(), oracle::is_filter(filter_text), "{filter:?}");
    assert_eq!(topic.is_ok(), oracle::is_topic(topic_text), "{topic:?}");
    if let (Ok(filter), Ok(topic)) = (&filter, &topic) {
        assert_eq!(filter.matches(topic), oracle::matches(filter_text, topic_text), "{filter} {topic}");
        assert_eq!((filter.as_str(), topic.as_str()), (filter_text, topic_text));
    }
    for error in [filter.err(), topic.err()].into_iter().flatten() {
        assert!(!error.to_string().is_empty());
    }
});

mod oracle {
    use super::*;

    fn levels(text: &str) -> Option<Vec<&str>> {
        let levels: Vec<&str> = text.split('/').collect();
        let fits = (1..=TOPIC_BYTES_MAX).contains(&text.len()) && levels.len() <= TOPIC_LEVELS_MAX;
        (fits && !text.chars().any(|c| c < ' ' || ('\u{7f}'..='\u{9f}').contains(&c))).then_some(levels)
    }

    pub(super) fn is_topic(text: &str) -> bool {
        levels(text).is_some() && !text.contains(['+', '#'])
    }

    pub(super) fn is_filter(text: &str) -> bool {
        levels(text).is_some_and(|levels| {
            let last = levels.len() - 1;
            levels.iter().enumerate().all(|(at, level)| match *level {
                "+" => true,
                "#" => at == last,
                level => !level.contains(['+', '#']),
            })
        })
    }

    pub(super) fn matches(filter: &str, topic: &str) -> bool {
        let filter: Vec<&str> = filter.split('/').collect();
        let topic_levels: Vec<&str> = topic.split('/').collect();
        let hidden = topic.starts_with('$') && (filter[0] == "+" || filter[0] == "#");
        !hidden && fits(&filter, &topic_levels)
    }

    fn fits(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => fits(filter, topic),
            ([wanted, filter @ ..], [given, topic @ ..]) => wanted == given && fits(filter, topic),
            _ => false,
        }
    }
}
