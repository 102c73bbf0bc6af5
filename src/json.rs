//! How the JSON of peers is read, where `serde` by itself would accept more than a peer may say.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// An object, read as a `T`. Every structure of an answer is read through this, at every depth.
///
/// What `serde` derives for a structure takes an array for one too, by the order in which its fields happen to be written:
/// `["running"]` would be an answer, and one in which most of what was asked for is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for MapVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(MapVisitor(PhantomData))
    }
}

/// What becomes of a document when objects in it are written as arrays, for tests of those who read it.
#[cfg(test)]
pub(crate) mod arrays {
    use serde_json::Value;

    /// The document with each of its objects, one at a time, as arrays: of its values in their order, and of fewer and fewer
    /// of them, down to none.
    pub(crate) fn in_place_of_objects(document: &str) -> Vec<String> {
        let document: Value = serde_json::from_str(document).expect("a literal document");
        let mut all = Vec::new();
        variants(&document, &|value| value, &mut all);
        all
    }

    fn variants(value: &Value, whole: &dyn Fn(Value) -> Value, all: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                let values: Vec<Value> = members.values().cloned().collect();
                for length in 0..=values.len() {
                    all.push(whole(Value::Array(values[..length].to_vec())).to_string());
                }
                let nulls = vec![Value::Null; 20];
                all.push(whole(Value::Array(nulls)).to_string());
                for (name, member) in members {
                    let inner = |changed| {
                        let mut members = members.clone();
                        members.insert(name.clone(), changed);
                        whole(Value::Object(members))
                    };
                    variants(member, &inner, all);
                }
            }
            Value::Array(elements) => {
                for (at, element) in elements.iter().enumerate() {
                    let inner = |changed| {
                        let mut elements = elements.clone();
                        elements[at] = changed;
                        whole(Value::Array(elements))
                    };
                    variants(element, &inner, all);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Pair<'text> {
        left: Option<u8>,
        #[serde(borrow)]
        right: Option<&'text serde_json::value::RawValue>,
    }

    #[test]
    fn an_object_is_an_object() {
        let read = |text| {
            serde_json::from_str::<Object<Pair<'_>>>(text)
                .map(|Object(pair)| (pair.left, pair.right.map(|raw| raw.get().to_owned())))
                .map_err(|error| error.to_string())
        };
        let no = |found: &str, column: u8| {
            Err(format!(
                "invalid type: {found}, expected an object at line 1 column {column}"
            ))
        };
        let cases = [
            ("{}", Ok((None, None))),
            (
                r#"{"left":1,"more":[],"right":[ 1]}"#,
                Ok((Some(1), Some("[ 1]".to_owned()))),
            ),
            ("[1,2]", no("sequence", 0)),
            ("[]", no("sequence", 0)),
            ("null", no("null", 4)),
            ("7", no("integer `7`", 1)),
            (r#""{}""#, no("string \"{}\"", 4)),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
