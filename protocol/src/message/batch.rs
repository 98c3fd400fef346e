// SPDX-License-Identifier: Apache-2.0
//! The body of SEND_BATCH_MESSAGE (320): messages of one topic and queue, each with its own flag, body and properties.

use bytes::Bytes;

use super::layout::BATCH_ITEM_FIXED_BYTES;
use crate::error::DecodeError;

/// Where an item's parts lie: total 4, magic 4, crc 4, flag 4, body length 4, body, properties length 2, properties.
const FLAG_AT: usize = 12;
const BODY_LENGTH_AT: usize = 16;
const BODY_AT: usize = 20;

/// One message of a batch; body and properties are slices of the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchItem {
    pub flag: i32,
    pub body: Bytes,
    pub properties: Bytes,
}

/// The items of a batch body, without copying. After an error there is nothing more.
pub fn items(batch: &Bytes) -> impl Iterator<Item = Result<BatchItem, DecodeError>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == batch.len() {
            return None;
        }
        let item = decode_item(batch, at);
        at = item.as_ref().map_or(batch.len(), |(_, end)| *end);
        Some(item.map(|(item, _)| item))
    })
}

/// The item at `start`, and where the next one is.
fn decode_item(batch: &Bytes, start: usize) -> Result<(BatchItem, usize), DecodeError> {
    let bytes = &batch[start..];
    let need = |needed: usize, what: &'static str| {
        if needed > bytes.len() { Err(DecodeError::Truncated { what, at: start, needed, available: bytes.len() }) } else { Ok(()) }
    };
    let number = |at: usize| i32::from_be_bytes(*bytes[at..].first_chunk().expect("the caller made sure of four bytes"));
    need(BATCH_ITEM_FIXED_BYTES, "batch item")?;
    // As the original, which reads part by part: an item is as long as its parts, whatever its first word says.
    let lying = |length: i64| DecodeError::Length { what: "batch item", length, available: bytes.len() };
    let body_length = usize::try_from(number(BODY_LENGTH_AT)).map_err(|_| lying(i64::from(number(BODY_LENGTH_AT))))?;
    let properties_length_at = BODY_AT.saturating_add(body_length);
    need(properties_length_at.saturating_add(2), "body of a batch item")?;
    let length = i16::from_be_bytes(*bytes[properties_length_at..].first_chunk().expect("two bytes were made sure of"));
    let properties_at = properties_length_at + 2;
    let end = properties_at + usize::try_from(length).map_err(|_| lying(i64::from(length)))?;
    need(end, "properties of a batch item")?;
    let item = BatchItem {
        flag: number(FLAG_AT),
        body: batch.slice(start + BODY_AT..start + properties_length_at),
        properties: batch.slice(start + properties_at..start + end),
    };
    Ok((item, start + end))
}

/// Appends one item, as a client builds a batch.
pub fn encode_item(flag: i32, body: &[u8], properties: &[u8], out: &mut Vec<u8>) {
    assert!(properties.len() <= super::layout::PROPERTIES_BYTES_MAX, "the sender checks the size first: {}", properties.len());
    let total = BATCH_ITEM_FIXED_BYTES + body.len() + properties.len();
    out.extend_from_slice(&(total as u32).to_be_bytes());
    out.extend_from_slice(&[0; 8]); // magic and crc, which nobody reads
    out.extend_from_slice(&flag.to_be_bytes());
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(&(properties.len() as u16).to_be_bytes());
    out.extend_from_slice(properties);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    /// A vector computed by the original's code.
    #[test]
    fn the_vector_reads_and_writes() {
        let vector = hex("0000002f 00000000 00000000 00000000 00000005 68656c6c6f 0014 57414954 01 74727565 02 54414753 01 54616741 02");
        let mut written = Vec::new();
        encode_item(0, b"hello", b"WAIT\x01true\x02TAGS\x01TagA\x02", &mut written);
        assert_eq!(written, vector);
        let twice = Bytes::from([vector.clone(), vector].concat());
        let items: Vec<_> = items(&twice).collect::<Result<_, _>>().unwrap();
        assert_eq!(items.len(), 2);
        assert_eq!((&items[1].body[..], &items[1].properties[..]), (&b"hello"[..], &b"WAIT\x01true\x02TAGS\x01TagA\x02"[..]));
    }

    #[test]
    fn a_batch_that_ends_early_or_lies_is_told_once() {
        let mut batch = Vec::new();
        encode_item(0, b"hello", b"", &mut batch);
        for cut in 1..batch.len() {
            let short = Bytes::copy_from_slice(&batch[..cut]);
            let read: Vec<_> = items(&short).collect();
            assert!(read.len() == 1 && read[0].is_err(), "cut at {cut}");
        }
        batch[BODY_LENGTH_AT] = 0xFF;
        assert!(items(&Bytes::from(batch)).next().unwrap().is_err());
    }
}
