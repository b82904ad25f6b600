//! JSON values that keep the order of their members, so that two looks at a page compare line
//! by line. (The library's own values keep members in a hash table.)

use serde::ser::{Serialize, SerializeMap, Serializer};

/// A value of a page.
#[derive(Clone, Debug)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Whole(i128),
    Real(f64),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
    /// Something read from elsewhere, kept as it is.
    Read(sonic_rs::Value),
}

impl Json {
    /// A list of what each item becomes.
    pub(super) fn list<T: Into<Self>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }

    /// JSON text of somebody else; null where it is none.
    pub(super) fn read(text: &[u8]) -> Self {
        sonic_rs::from_slice(text).map_or(Self::Null, Self::Read)
    }
}

/// An object with members in that order.
macro_rules! object {
    ($($name:literal: $value:expr),* $(,)?) => {
        $crate::handler::builtin::json::Json::Object(vec![
            $(($name.to_owned(), $crate::handler::builtin::json::Json::from($value)),)*
        ])
    };
}
pub(super) use object;

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Whole(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => serializer.serialize_u64(value),
                (_, Ok(value)) => serializer.serialize_i64(value),
                _ => serializer.serialize_unit(),
            },
            Self::Real(value) => serializer.serialize_f64(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => items.serialize(serializer),
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
            Self::Read(value) => value.serialize(serializer),
        }
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Json {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Self>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Json {
    fn from(items: Vec<T>) -> Self {
        Self::list(items)
    }
}

impl From<&[String]> for Json {
    fn from(items: &[String]) -> Self {
        Self::list(items.iter().map(String::as_str))
    }
}

macro_rules! whole {
    ($($number:ty),*) => {
        $(impl From<$number> for Json {
            fn from(value: $number) -> Self {
                Self::Whole(value as i128)
            }
        })*
    };
}
whole!(u8, u16, u32, u64, usize, i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order() {
        let value = object! {
            "z": 1_u64,
            "a": vec![-1_i64, 2],
            "m": None::<bool>,
            "n": object! { "y": "\"", "x": 0.5, "b": true },
            "r": Json::read(br#"{"q":1,"p":[]}"#),
            "broken": Json::read(b"{"),
        };
        let text = sonic_rs::to_string(&value).unwrap();
        let expected = r#"{"z":1,"a":[-1,2],"m":null,"n":{"y":"\"","x":0.5,"b":true},"r":{"q":1,"p":[]},"broken":null}"#;
        assert_eq!(text, expected);
    }
}
