//! Structs as MessagePack maps with small integer keys (PROTOCOL.md 3.2).
//!
//! Invariants: unknown keys are skipped, a missing key leaves its field's default, a known key
//! that stands twice is an error, keys are written in the order of the definition, fields that equal their default
//! are left out.

/// Defines structs whose fields carry numbers, with serde implementations by number.
#[macro_export]
#[doc(hidden)]
macro_rules! numbered {
    ($(
        $(#[$meta:meta])*
        struct $name:ident { $( $(#[$fmeta:meta])* $key:literal $field:ident : $ty:ty, )* }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct $name { $( $(#[$fmeta])* pub $field: $ty, )* }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut present = 0usize;
                $( if self.$field != <$ty>::default() { present += 1; } )*
                let mut map = serializer.serialize_map(Some(present))?;
                $( if self.$field != <$ty>::default() { map.serialize_entry(&($key as u8), &self.$field)?; } )*
                map.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct NumberedVisitor;
                impl<'de> serde::de::Visitor<'de> for NumberedVisitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("a map of ", stringify!($name)))
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        #[allow(unused_mut, reason = "a struct without fields changes nothing")]
                        let mut out = $name::default();
                        #[allow(unused_mut, reason = "a struct without fields changes nothing")]
                        let mut seen = 0u64;
                        while let Some(key) = map.next_key::<u64>()? {
                            match key {
                                $( $key => {
                                    if seen & (1 << $key) != 0 {
                                        return Err(serde::de::Error::custom(concat!("key ", $key, " stands twice")));
                                    }
                                    seen |= 1 << $key;
                                    out.$field = map.next_value()?;
                                } )*
                                _ => { map.next_value::<serde::de::IgnoredAny>()?; }
                            }
                        }
                        Ok(out)
                    }
                }
                deserializer.deserialize_map(NumberedVisitor)
            }
        }
    )*};
}
