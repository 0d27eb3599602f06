//! Texts of conditions: borrowed from a filter, or made.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use smol_str::SmolStr;

/// A text: equal, ordered and hashed as such.
#[derive(Clone)]
pub(crate) enum Text<'f> {
    /// Of a filter.
    Of(&'f str),
    /// Of nobody else. A short one takes no memory of its own.
    Made(SmolStr),
}

impl Text<'_> {
    /// The text by itself.
    pub(super) fn into_owned(self) -> Text<'static> {
        match self {
            Text::Of(text) => Text::Made(text.into()),
            Text::Made(text) => Text::Made(text),
        }
    }
}

impl Deref for Text<'_> {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        match self {
            Text::Of(text) => text,
            Text::Made(text) => text,
        }
    }
}

impl<'f> From<&'f str> for Text<'f> {
    #[inline]
    fn from(text: &'f str) -> Text<'f> {
        Text::Of(text)
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Text::Made(text.into())
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text<'_> {}

impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        str::cmp(self, other)
    }
}

impl Hash for Text<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        str::hash(self, state);
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}
