//! Bytes in the text form of graphs: the text itself, or `hex:` and its digits where it is no plain text.

use serde::{Deserialize, Deserializer, Serializer, de::Error};

const HEX: &str = "hex:";

fn to_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with(HEX) => text.to_owned(),
        _ => bytes.iter().fold(HEX.to_owned(), |text, byte| text + &format!("{byte:02x}")),
    }
}

fn from_text(text: String) -> Option<Vec<u8>> {
    let Some(digits) = text.strip_prefix(HEX) else { return Some(text.into_bytes()) };
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&to_text(bytes))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    from_text(String::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("bad hex digits"))
}

/// The same for bytes that may be absent.
pub(super) mod optional {
    use super::*;

    #[allow(clippy::ref_option, reason = "serde gives the field as it is")]
    pub(in super::super) fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => serializer.serialize_some(&to_text(bytes)),
            None => serializer.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| from_text(text).ok_or_else(|| D::Error::custom("bad hex digits"))).transpose()
    }
}
