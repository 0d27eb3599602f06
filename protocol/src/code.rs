//! The one table of answer codes (PROTOCOL.md 7).

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $number:literal $name:ident $text:literal,)*) => {
        /// An answer code. The numbers follow HTTP where a meaning exists there.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Code { $($(#[$doc])* $name = $number,)* }

        impl Code {
            /// Every code, in order.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The code of a number, if this version knows it.
            pub fn from_number(number: u16) -> Option<Code> {
                match number { $($number => Some(Code::$name),)* _ => None }
            }

            /// A short text in lower case.
            pub fn text(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// The event is flushed at the home, or the request is carried out.
    200 Durable "durable",
    /// The event is in the broker's memory.
    202 Accepted "accepted",
    /// Nothing to do.
    204 NothingToDo "nothing to do",
    /// The event was stored before; proof is at hand.
    208 Duplicate "duplicate",
    /// The client has another home.
    301 OtherHome "other home",
    /// The request breaks the protocol or a rule of form.
    400 Malformed "malformed",
    /// No identity was shown.
    401 Unauthenticated "unauthenticated",
    /// The identity may not do this.
    403 Forbidden "forbidden",
    /// There is no such thing.
    404 NotFound "not found",
    /// Time ran out.
    408 TimedOut "timed out",
    /// In conflict with what exists, or taken over by another connection.
    409 Conflict "conflict",
    /// Too old to tell whether it was stored.
    410 Gone "gone",
    /// Larger than a limit.
    413 TooLarge "too large",
    /// The filter was refused.
    422 FilterRefused "filter refused",
    /// An earlier sequence was refused and neither resent nor skipped.
    425 Blocked "blocked",
    /// No common protocol version.
    426 Version "version",
    /// Over quota; retry after the time given.
    429 Quota "quota",
    /// The broker is at fault.
    500 Internal "internal error",
    /// The broker is starting, draining or stopped.
    503 Unavailable "unavailable",
    /// The store is full.
    507 StoreFull "store full",
}

impl Code {
    /// The number on the wire.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// Whether the request was carried out (2xx).
    pub fn is_success(self) -> bool {
        self.number() < 300
    }

    /// Whether a publisher resends after this refusal (PROTOCOL.md 5.6).
    pub fn is_retryable(self) -> bool {
        matches!(self, Code::Quota | Code::Unavailable | Code::StoreFull)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn every_code_round_trips_through_its_number() {
        for &code in Code::ALL {
            assert_eq!(Code::from_number(code.number()), Some(code));
        }
        assert_eq!(Code::from_number(299), None);
    }
}
