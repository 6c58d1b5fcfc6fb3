//! A reader of JSON, for the answers of Prometheus and VictoriaMetrics.
//!
//! They are trusted and of one known shape, so a fault in one is a panic, and numbers stay text
//! until somebody knows what they count: a timestamp in milliseconds is exact.

use std::collections::BTreeMap;

/// A value.
#[derive(Debug, PartialEq)]
pub enum Json {
    /// `null`, `true`, `false` or a number, as it was written.
    Word(String),
    /// A string, its escapes resolved.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object.
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// Reads one value that fills `text`.
    pub fn read(text: &str) -> Json {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value();
        assert_eq!(reader.peek(), None, "something follows the value");
        value
    }

    /// The member `name` of an object.
    pub fn member(&self, name: &str) -> &Json {
        match self {
            Json::Object(members) => {
                members.get(name).unwrap_or_else(|| panic!("no member {name} in {members:?}"))
            }
            _ => panic!("{self:?} is no object"),
        }
    }

    /// The members of an object.
    pub fn members(&self) -> &BTreeMap<String, Json> {
        let Json::Object(members) = self else { panic!("{self:?} is no object") };
        members
    }

    /// The items of a list.
    pub fn items(&self) -> &[Json] {
        let Json::List(items) = self else { panic!("{self:?} is no list") };
        items
    }

    /// The text of a string, or of a word.
    pub fn text(&self) -> &str {
        match self {
            Json::Word(text) | Json::Text(text) => text,
            _ => panic!("{self:?} is no text"),
        }
    }

    /// A number, whether it is written as one or as a string, as Prometheus writes its values.
    /// `null` is not a number, and so NaN: JSON has no other word for it.
    pub fn number(&self) -> f64 {
        let text = self.text();
        if text == "null" {
            return f64::NAN;
        }
        text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    /// The next byte that is not white space, which stays where it is.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) {
        assert_eq!(self.peek(), Some(byte), "at {}", self.at);
        self.at += 1;
    }

    /// Whether another element follows: takes the comma, or the `end` of the list.
    fn goes_on(&mut self, first: bool, end: u8) -> bool {
        if self.peek() == Some(end) {
            self.at += 1;
            return false;
        }
        if !first {
            self.expect(b',');
        }
        true
    }

    fn value(&mut self) -> Json {
        match self.peek() {
            Some(b'"') => Json::Text(self.string()),
            Some(b'[') => {
                self.at += 1;
                let mut items = Vec::new();
                while self.goes_on(items.is_empty(), b']') {
                    items.push(self.value());
                }
                Json::List(items)
            }
            Some(b'{') => {
                self.at += 1;
                let mut members = BTreeMap::new();
                while self.goes_on(members.is_empty(), b'}') {
                    self.peek();
                    let name = self.string();
                    self.expect(b':');
                    members.insert(name, self.value());
                }
                Json::Object(members)
            }
            Some(_) => self.word(),
            None => panic!("the text ends where a value was due"),
        }
    }

    fn word(&mut self) -> Json {
        let rest = &self.text[self.at..];
        let end = rest
            .find(|sign: char| !(sign.is_ascii_alphanumeric() || "+-.".contains(sign)))
            .unwrap_or(rest.len());
        assert!(end > 0, "no value at {}", self.at);
        self.at += end;
        Json::Word(rest[..end].to_owned())
    }

    fn string(&mut self) -> String {
        self.expect(b'"');
        let mut string = String::new();
        loop {
            let rest = &self.text[self.at..];
            let end = rest.find(['"', '\\']).expect("a string has an end");
            string.push_str(&rest[..end]);
            self.at += end + 1;
            if rest.as_bytes()[end] == b'"' {
                return string;
            }
            string.push(self.escaped());
        }
    }

    fn escaped(&mut self) -> char {
        let sign = self.text.as_bytes()[self.at];
        self.at += 1;
        match sign {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'u' => {
                let digits = &self.text[self.at..self.at + 4];
                self.at += 4;
                let code = u32::from_str_radix(digits, 16).expect("four hexadecimal digits");
                char::from_u32(code).expect("no surrogate pairs in names of series")
            }
            other => char::from(other),
        }
    }
}

#[test]
fn the_reader_of_json_reads_what_the_programs_write() {
    let read = Json::read(r#" {"metric":{"a":"x\"A\\"},"values":[1,-2.5e3,null],"none":[]} "#);
    assert_eq!(read.member("metric").member("a").text(), "x\"A\\");
    assert_eq!(read.member("values").items()[1].number(), -2500.0);
    assert!(read.member("values").items()[2].number().is_nan());
    assert_eq!(read.member("none").items(), []);
}
