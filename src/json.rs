//! How the JSON of peers is read, where `serde` by itself would accept more than a peer may say.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
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

/// A text, borrowed from the document where it has no escapes in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text<'document>(pub Cow<'document, str>);

impl<'de: 'document, 'document> Deserialize<'de> for Text<'document> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// An array of at most so many elements.
///
/// An element of a few bytes can take hundreds when it is read, and a small compressed answer be all elements: a limit on
/// the bytes of an answer is none on the memory that reading it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Several<T, const MOST: usize>(pub Vec<T>);

impl<T, const MOST: usize> Default for Several<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Several<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut elements = Vec::new();
        for_each_of(deserializer, MOST, |element| {
            elements.push(element);
            Ok(())
        })?;
        Ok(Self(elements))
    }
}

/// Reads an array of at most `most` elements, one by one.
///
/// # Errors
///
/// What it is told of an element, and whatever is no such array.
pub fn for_each_of<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
    most: usize,
    mut take: impl FnMut(T) -> Result<(), String>,
) -> Result<(), D::Error> {
    let mut count = 0;
    for_each(deserializer, |element| {
        if count == most {
            return Err(format!(
                "a list of more than {most} elements, which is not read"
            ));
        }
        count += 1;
        take(element)
    })
}

/// Reads an array element by element and keeps none of them.
///
/// # Errors
///
/// What it is told of an element, and whatever is no such array.
pub fn for_each<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
    take: impl FnMut(T) -> Result<(), String>,
) -> Result<(), D::Error> {
    struct Elements<T, F>(F, PhantomData<T>);

    impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), String>> Visitor<'de> for Elements<T, F> {
        type Value = ();

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
            while let Some(element) = elements.next_element()? {
                (self.0)(element).map_err(A::Error::custom)?;
            }
            Ok(())
        }
    }

    deserializer.deserialize_seq(Elements(take, PhantomData))
}

/// What is wrong with a piece of a document, without the place: that is one in the piece, and nobody sees where it begins.
#[must_use]
pub fn problem(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    if let Some(place) = text.rfind(" at line ") {
        text.truncate(place);
    }
    text
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
    fn the_problem_of_a_piece_has_no_place() {
        let error = serde_json::from_str::<u8>("[ at line 7").expect_err("no number");
        assert_eq!(problem(&error), "invalid type: sequence, expected u8");
        let error = serde_json::from_str::<Object<u8>>("{").expect_err("half of one");
        assert_eq!(problem(&error), "invalid type: map, expected u8");
    }

    #[test]
    fn a_list_has_no_more_elements_than_are_read() {
        let read = |text| {
            serde_json::from_str::<Several<u8, 3>>(text)
                .map(|several| several.0)
                .map_err(|error| error.to_string())
        };
        let too_many = "a list of more than 3 elements, which is not read at line 1 column ";
        let cases = [
            ("[]", Ok(vec![])),
            ("[1,2,3]", Ok(vec![1, 2, 3])),
            ("[1,2,3,4]", Err(format!("{too_many}9"))),
            ("[1,2,3,4,", Err(format!("{too_many}9"))),
            (
                "{}",
                Err("invalid type: map, expected a list at line 1 column 0".to_owned()),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text}");
        }
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
