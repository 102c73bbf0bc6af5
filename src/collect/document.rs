//! Reading JSON as a tree, with a bound on the memory that it takes: a document of a megabyte, all of empty lists, is a tree
//! of a hundred.
//!
//! What is looked for in the tree is another module's business.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How much memory a tree takes at most, about.
pub(super) const MOST: usize = 32 * 1024 * 1024;

/// What a value takes where it stands: lists grow by doubling.
const VALUE: usize = 2 * size_of::<Value>();

/// What a list or an object takes beside its values: the room that it makes for the first few.
const CONTAINER: usize = 512;

/// What a text takes beside its bytes, of which some are for the allocator.
const TEXT: usize = 48;

/// Why a document is no tree.
#[derive(Debug)]
pub(super) enum Unread {
    /// It would take more than [`MOST`].
    TooMuch,
    /// It is not JSON.
    Broken(serde_json::Error),
}

/// The tree of a document.
///
/// # Errors
///
/// Broken JSON, and a tree that would be too large.
pub(super) fn read(body: &[u8]) -> Result<Value, Unread> {
    let mut budget = Budget {
        left: MOST,
        is_spent: false,
    };
    let mut document = serde_json::Deserializer::from_slice(body);
    let tree = Tree(&mut budget).deserialize(&mut document);
    let tree = tree.and_then(|tree| document.end().map(|()| tree));
    tree.map_err(|error| {
        if budget.is_spent {
            Unread::TooMuch
        } else {
            Unread::Broken(error)
        }
    })
}

/// How much memory may still be taken.
struct Budget {
    left: usize,
    is_spent: bool,
}

impl Budget {
    fn spend<E: Error>(&mut self, bytes: usize) -> Result<(), E> {
        let left = self.left.checked_sub(bytes);
        self.is_spent |= left.is_none();
        self.left = left.ok_or_else(|| E::custom("too many values"))?;
        Ok(())
    }
}

/// Reads one value, and all that is in it.
struct Tree<'read>(&'read mut Budget);

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.spend(VALUE)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.0.spend(TEXT + value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        self.0.spend(CONTAINER)?;
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(Tree(&mut *self.0))? {
            list.push(element);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.0.spend(CONTAINER)?;
        let mut object = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            self.0.spend(2 * TEXT + name.len())?;
            let value = entries.next_value_seed(Tree(&mut *self.0))?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tree_that_would_be_too_large_is_not_read_to_its_end() {
        for (element, count) in [
            ("{\"a\":0}", 130_000),
            ("[[0]]", 170_000),
            ("\"\"", 345_000),
        ] {
            let document = format!("[{}]", vec![element; count].join(","));
            assert!(document.len() <= 1024 * 1024 + 4096, "{}", document.len());
            let found = read(document.as_bytes());
            assert!(matches!(found, Err(Unread::TooMuch)), "{element}");
            // What is behind it is not even looked at.
            let found = read(&document.as_bytes()[..document.len() - 1]);
            assert!(matches!(found, Err(Unread::TooMuch)), "{element}");
        }
    }

    #[test]
    fn what_queues_look_like_is_read_up_to_a_megabyte() {
        let queue = serde_json::json!({
            "arguments": {"x-queue-type": "classic"}, "auto_delete": false, "backing_queue_status": {
                "avg_ack_egress_rate": 0.0, "avg_ack_ingress_rate": 0.0, "len": 0, "mode": "default", "next_seq_id": 0,
                "num_pending_acks": 0, "q1": 0, "target_ram_count": "infinity"},
            "consumers": 3, "durable": true, "effective_policy_definition": {}, "garbage_collection": {
                "fullsweep_after": 65535, "max_heap_size": 0, "min_bin_vheap_size": 46422},
            "memory": 13864, "message_bytes": 0, "messages": 12, "messages_details": {"rate": 0.0},
            "name": "default-queue-of-some-name", "node": "rabbit@host", "policy": null, "vhost": "/"
        })
        .to_string();
        let count = 1024 * 1024 / (queue.len() + 1);
        let document = format!("[{}]", vec![queue; count].join(","));
        let tree = read(document.as_bytes()).unwrap();
        assert_eq!(tree.as_array().map(Vec::len), Some(count));
    }

    #[test]
    fn broken_json_is_that() {
        for document in ["", "[", "{\"a\":", "[1]2", "[1,]", "1e999", "nul"] {
            let ours = read(document.as_bytes());
            let theirs = serde_json::from_slice::<Value>(document.as_bytes()).unwrap_err();
            match ours {
                Err(Unread::Broken(error)) => assert_eq!(error.to_string(), theirs.to_string()),
                other => panic!("{document}: {other:?}"),
            }
        }
        let deep = "[".repeat(100_000);
        assert!(matches!(read(deep.as_bytes()), Err(Unread::Broken(_))));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e9..1e9).prop_map(|number: f64| Value::from(number)),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((".{0,4}", inner), 0..6)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_document_is_the_tree_that_it_says(tree in json()) {
            let document = tree.to_string();
            let expected: Value = serde_json::from_str(&document).unwrap();
            prop_assert_eq!(read(document.as_bytes()).unwrap(), expected);
        }
    }
}
