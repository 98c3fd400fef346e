// SPDX-License-Identifier: Apache-2.0
//! What the first bytes of a connection say that its peer speaks: several protocols may come to one port. Knows no protocol further.

/// A protocol by its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// Frames of RocketMQ's remoting, or what is none of the others.
    Remoting,
    Tls,
    /// The address of the client before anything else, from a proxy between (v1 and v2).
    ProxyProtocol,
    /// HTTP/2, which gRPC speaks.
    Http2,
    /// HTTP/1.
    Http,
}

/// None of them can begin a frame: as its length they mean more than 200 MB.
const BEGINNINGS: [(&[u8], Spoken); 6] = [
    // The type of a record that says hello.
    (&[0x16], Spoken::Tls),
    (b"PRI ", Spoken::Http2),
    (b"PROXY ", Spoken::ProxyProtocol),
    (b"\r\n\r\n\0\r\nQUIT\n", Spoken::ProxyProtocol),
    (b"GET ", Spoken::Http),
    (b"POST ", Spoken::Http),
];

/// `None` while more has to come to tell.
pub(super) fn spoken(bytes: &[u8]) -> Option<Spoken> {
    if let Some((_, spoken)) = BEGINNINGS.iter().find(|(beginning, _)| bytes.starts_with(beginning)) {
        return Some(*spoken);
    }
    let may_become_one = BEGINNINGS.iter().any(|(beginning, _)| beginning.starts_with(bytes));
    (!may_become_one).then_some(Spoken::Remoting)
}

impl Spoken {
    /// Its name for people.
    pub(super) fn feature(self) -> &'static str {
        match self {
            Self::Remoting => "RocketMQ's remoting",
            Self::Tls => "TLS",
            Self::ProxyProtocol => "the PROXY protocol",
            Self::Http2 => "gRPC",
            Self::Http => "HTTP",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_tells_as_soon_as_it_can_be_nothing_else() {
        for (beginning, expected) in BEGINNINGS {
            for length in 0..beginning.len() {
                assert_eq!(spoken(&beginning[..length]), None, "{expected:?} after {length}");
            }
            assert_eq!(spoken(beginning), Some(expected));
            assert_eq!(spoken(&[beginning, b"more"].concat()), Some(expected));
            let as_a_length = u32::from_be_bytes(std::array::from_fn(|at| beginning.get(at).copied().unwrap_or(0)));
            assert!(as_a_length as usize > ferrocket_protocol::FRAME_BYTES_MAX, "{expected:?} may begin a frame");
        }
        for frame in [&[0][..], &[0, 0, 0, 95], &[1, 0, 0, 0], b"HELO", b"PUT /", b"PROXIES"] {
            assert_eq!(spoken(frame), Some(Spoken::Remoting), "{frame:?}");
        }
    }
}
