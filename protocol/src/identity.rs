//! Who is who: store ids, incarnations, epochs, publishers, roles (PROTOCOL.md 2.2, 5.1, 6.1).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::numbered;

/// Longest name of a broker or a client, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

macro_rules! byte_id {
    ($(#[$meta:meta])* $name:ident, $len:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl Default for $name {
            fn default() -> Self { $name([0; $len]) }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{self}") }
        }
        impl FromStr for $name {
            type Err = IdentityError;
            fn from_str(text: &str) -> Result<Self, IdentityError> {
                let bad = || IdentityError::NotHex { got: text.chars().take(80).collect(), digits: 2 * $len };
                if text.len() != 2 * $len || !text.is_ascii() { return Err(bad()); }
                let mut out = [0u8; $len];
                for (i, byte) in out.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| bad())?;
                }
                Ok($name(out))
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let bytes: serde_bytes::ByteBuf = Deserialize::deserialize(deserializer)?;
                let array = <[u8; $len]>::try_from(bytes.as_slice()).map_err(|_| {
                    serde::de::Error::invalid_length(bytes.len(), &concat!(stringify!($len), " bytes"))
                })?;
                Ok($name(array))
            }
        }
    };
}

byte_id!(
    /// Identity of one store, made at random when the store is.
    StoreId, 16
);
byte_id!(
    /// One client in all of its connections, made at random with it; zeros: it does not say.
    ClientId, 16
);
byte_id!(
    /// SHA-256 of a certificate authority's certificate in DER.
    Fingerprint, 32
);

/// What can be wrong with a name or an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not the right number of hexadecimal digits.
    #[error("`{got}` is not {digits} hexadecimal digits")]
    NotHex {
        /// What was given.
        got: String,
        /// Digits expected.
        digits: usize,
    },
    /// A name that breaks the rule.
    #[error("`{got}` is not a name: use 1 to 128 letters, digits, `.`, `-` and `_`")]
    Name {
        /// What was given.
        got: String,
    },
    /// A SAN URI that is not one of Fanal's.
    #[error("`{got}` is not a Fanal identity: expected fanal://broker/NAME or fanal://client/NAME")]
    Uri {
        /// What was given.
        got: String,
    },
    /// A publisher id that is not `NAME@FINGERPRINT`.
    #[error("`{got}` is not a publisher id: expected NAME@FINGERPRINT")]
    Publisher {
        /// What was given.
        got: String,
    },
}

/// Checks the name of a broker or a client: 1 to 128 of `[A-Za-z0-9._-]`.
pub fn check_name(name: &str) -> Result<(), IdentityError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(fits) {
        return Ok(());
    }
    Err(IdentityError::Name { got: name.chars().take(80).collect() })
}

/// What a certificate says its holder is: a SAN URI (PROTOCOL.md 2.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// `fanal://broker/NAME`.
    Broker(String),
    /// `fanal://client/NAME`.
    Client(String),
}

impl Role {
    /// The name in the role.
    pub fn name(&self) -> &str {
        match self {
            Role::Broker(name) | Role::Client(name) => name,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Broker(name) => write!(f, "fanal://broker/{name}"),
            Role::Client(name) => write!(f, "fanal://client/{name}"),
        }
    }
}

impl FromStr for Role {
    type Err = IdentityError;

    fn from_str(uri: &str) -> Result<Self, IdentityError> {
        let (make, name): (fn(String) -> Role, &str) = if let Some(name) = uri.strip_prefix("fanal://broker/")
        {
            (Role::Broker, name)
        } else if let Some(name) = uri.strip_prefix("fanal://client/") {
            (Role::Client, name)
        } else {
            return Err(IdentityError::Uri { got: uri.chars().take(80).collect() });
        };
        check_name(name)?;
        Ok(make(name.to_owned()))
    }
}

/// A publisher, unique in the federation: client name and fingerprint of its CA.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PublisherId {
    /// Name from the client's certificate.
    pub name: String,
    /// The CA that vouches for the name.
    pub authority: Fingerprint,
}

impl fmt::Display for PublisherId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.authority)
    }
}

impl FromStr for PublisherId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let bad = || IdentityError::Publisher { got: text.chars().take(80).collect() };
        let (name, authority) = text.rsplit_once('@').ok_or_else(bad)?;
        check_name(name)?;
        Ok(PublisherId { name: name.to_owned(), authority: authority.parse().map_err(|_| bad())? })
    }
}

numbered! {
    /// One life of a broker: which store, how often restored, how often started (PROTOCOL.md 6.1).
    #[derive(Copy, Eq, Hash, PartialOrd, Ord)]
    struct Incarnation {
        /// The store's identity.
        1 store: StoreId,
        /// Raised by restore and repair.
        2 recovery_epoch: u64,
        /// Raised at every start.
        3 start: u64,
    }

    /// What a home issues when a publish channel is opened; never issued twice (PROTOCOL.md 5.1).
    #[derive(Copy, Eq, Hash, PartialOrd, Ord)]
    struct Epoch {
        /// The issuing store.
        1 store: StoreId,
        /// Its recovery epoch.
        2 recovery_epoch: u64,
        /// Counter within the store.
        3 counter: u64,
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.store, self.recovery_epoch, self.counter)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.store, self.recovery_epoch, self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_publishers_round_trip_as_text() {
        for uri in ["fanal://broker/ewr", "fanal://client/till-7.shop_a"] {
            assert_eq!(uri.parse::<Role>().unwrap().to_string(), uri);
        }
        let id = PublisherId { name: "till".into(), authority: Fingerprint([7; 32]) };
        assert_eq!(id.to_string().parse::<PublisherId>().unwrap(), id);
    }

    #[test]
    fn bad_identities_are_refused() {
        for uri in ["fanal://broker/", "fanal://peer/x", "https://x", "fanal://client/a b"] {
            assert!(uri.parse::<Role>().is_err(), "{uri}");
        }
        assert!("till@12".parse::<PublisherId>().is_err());
        assert!("é".repeat(16).parse::<StoreId>().is_err());
    }
}
