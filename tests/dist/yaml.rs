//! Documents of YAML as trees, for what is not a configuration of the program's own.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// A list or a mapping that has not come to its end, and the key that waits for its value.
enum Open {
    List(Vec<Value>),
    Map(Map<String, Value>, Option<String>),
}

/// Reads all documents of a file. What is plain and a number or a truth value is one.
pub fn documents(text: &str) -> Vec<Value> {
    let (mut found, mut open) = (Vec::new(), Vec::<Open>::new());
    for event in Parser::new_from_str(text) {
        let (event, span) = event.unwrap_or_else(|error| panic!("no YAML: {error}"));
        let value = match event {
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Map::new(), None));
                continue;
            }
            Event::Scalar(text, ScalarStyle::Plain, ..) => {
                serde_json::from_str(&text).unwrap_or(Value::String(text.into_owned()))
            }
            Event::Scalar(text, ..) => Value::String(text.into_owned()),
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(list)) => Value::Array(list),
                Some(Open::Map(map, None)) => Value::Object(map),
                _ => panic!("line {}: a key without a value", span.start.line()),
            },
            _ => continue,
        };
        match open.last_mut() {
            None => found.push(value),
            Some(Open::List(list)) => list.push(value),
            Some(Open::Map(map, key)) => match key.take() {
                Some(key) => {
                    let before = map.insert(key, value);
                    assert_eq!(before, None, "line {}: twice", span.start.line());
                }
                None => *key = Some(value.as_str().expect("a key is a text").to_owned()),
            },
        }
    }
    found
}
