//! Chooses between JSON and binary messages by the headers of a request. Pure.

use http::{HeaderMap, header};

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    /// Binary, under the content type that the client used.
    Binary(&'static str),
}

const BINARY: [&str; 4] = [
    "application/octet-stream",
    "application/x-protobuf",
    "application/protobuf",
    "application/vnd.google.protobuf",
];

impl Encoding {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Binary(name) => name,
        }
    }

    fn named(media_type: &str) -> Option<Self> {
        let name = media_type.split(';').next().unwrap_or_default().trim();
        if name.eq_ignore_ascii_case("application/json") {
            return Some(Self::Json);
        }
        BINARY.into_iter().find(|known| name.eq_ignore_ascii_case(known)).map(Self::Binary)
    }
}

/// How the body is written. Whatever is not binary is taken for JSON.
pub(crate) fn of_body(headers: &HeaderMap) -> Encoding {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.and_then(Encoding::named).unwrap_or(Encoding::Json)
}

/// How the reply shall be written: the first type asked for that there is; for a client that takes anything, as
/// its request was.
pub(crate) fn of_reply(headers: &HeaderMap) -> Encoding {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let named = accepts.flat_map(|value| value.split(',')).find_map(Encoding::named);
    named.unwrap_or_else(|| of_body(headers))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn headers_choose() {
        let of = |accept: &'static str, content: &'static str| {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::ACCEPT, accept), (header::CONTENT_TYPE, content)] {
                if !value.is_empty() {
                    headers.insert(name, HeaderValue::from_static(value));
                }
            }
            (of_body(&headers), of_reply(&headers))
        };
        let octets = Encoding::Binary("application/octet-stream");
        assert_eq!(of("", ""), (Encoding::Json, Encoding::Json));
        assert_eq!(of("*/*", "application/octet-stream"), (octets, octets));
        assert_eq!(of("application/octet-stream", ""), (Encoding::Json, octets));
        assert_eq!(
            of("text/html, application/json;q=0.9", "application/octet-stream"),
            (octets, Encoding::Json)
        );
        assert_eq!(of("", "application/json; charset=utf-8"), (Encoding::Json, Encoding::Json));
        assert_eq!(of("Application/X-Protobuf", "").1, Encoding::Binary("application/x-protobuf"));
    }
}
