//! Writes and reads the small XML documents of S3.

use std::{collections::BTreeMap, fmt::Write as _};

use quick_xml::{Reader, XmlVersion, events::Event};

use super::error::S3Error;

/// The namespace of every answer but errors.
pub(super) const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// A document under construction.
pub(super) struct Xml(String);

impl Xml {
    pub(super) fn new() -> Self {
        Self("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned())
    }

    /// Opens the root element of an answer.
    pub(super) fn root(name: &str) -> Self {
        let mut xml = Self::new();
        xml.push(format_args!("<{name} xmlns=\"{NAMESPACE}\">"));
        xml
    }

    pub(super) fn open(&mut self, name: &str) -> &mut Self {
        self.push(format_args!("<{name}>"))
    }

    pub(super) fn close(&mut self, name: &str) -> &mut Self {
        self.push(format_args!("</{name}>"))
    }

    /// Writes an element that holds only text.
    pub(super) fn leaf(&mut self, name: &str, text: impl std::fmt::Display) -> &mut Self {
        let text = escape(&text.to_string());
        self.push(format_args!("<{name}>{text}</{name}>"))
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) -> &mut Self {
        // Writing to a string does not fail.
        let _ = self.0.write_fmt(text);
        self
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            control if control.is_control() => {
                let _ = write!(escaped, "&#{};", u32::from(control));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

/// Reads a flat list: the texts of the children of every element called `record`, and, under the empty name of
/// the returned extra map, the leaves that stand outside of one.
pub(super) fn records(document: &[u8], record: &str) -> Result<Records, S3Error> {
    let fault = |message: String| S3Error::malformed_xml(message);
    let text = std::str::from_utf8(document).map_err(|_| fault("the body is not UTF-8".to_owned()))?;
    let mut reader = Reader::from_str(text);
    let mut found = Records::default();
    let mut open: Vec<String> = Vec::new();
    let mut value = String::new();
    loop {
        match reader.read_event().map_err(|error| fault(error.to_string()))? {
            Event::Start(element) => {
                let name = String::from_utf8_lossy(element.local_name().as_ref()).into_owned();
                if name == record {
                    found.items.push(BTreeMap::new());
                }
                open.push(name);
                value.clear();
            }
            Event::Text(part) => {
                value.push_str(
                    &part.xml_content(XmlVersion::Implicit1_0).map_err(|error| fault(error.to_string()))?,
                );
            }
            Event::CData(part) => {
                value.push_str(&part.decode().map_err(|error| fault(error.to_string()))?);
            }
            Event::GeneralRef(entity) => value.push_str(&resolve(&entity)?),
            Event::End(_) => {
                let Some(name) = open.pop() else { return Err(fault("an element is not open".to_owned())) };
                let inside = open.iter().any(|parent| parent == record);
                let text = std::mem::take(&mut value);
                match found.items.last_mut() {
                    Some(item) if inside => drop(item.insert(name, text)),
                    _ if name != record => drop(found.others.insert(name, text)),
                    _ => {}
                }
            }
            Event::Eof if open.is_empty() => return Ok(found),
            Event::Eof => return Err(fault("the document ends early".to_owned())),
            _ => {}
        }
    }
}

fn resolve(entity: &quick_xml::events::BytesRef<'_>) -> Result<String, S3Error> {
    let fault = || S3Error::malformed_xml("an entity is not known");
    if let Some(letter) = entity.resolve_char_ref().map_err(|_| fault())? {
        return Ok(letter.to_string());
    }
    let name = entity.decode().map_err(|_| fault())?;
    quick_xml::escape::resolve_predefined_entity(&name).map(str::to_owned).ok_or_else(fault)
}

/// What [`records`] found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) items: Vec<BTreeMap<String, String>>,
    pub(super) others: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_with_entities() {
        let document = br#"<?xml version="1.0"?><Delete xmlns="x"><Quiet>true</Quiet>
            <Object><Key>a&amp;b &#233;</Key></Object><Object><Key> c </Key><VersionId>1</VersionId></Object></Delete>"#;
        let found = records(document, "Object").unwrap();
        assert_eq!(found.others["Quiet"], "true");
        assert_eq!(found.items[0]["Key"], "a&b é");
        assert_eq!(found.items[1]["Key"], " c ");
        assert_eq!(found.items[1]["VersionId"], "1");
    }

    #[test]
    fn broken_documents_are_refused() {
        for document in ["<a><b></a>", "<a>", "<a>&nope;</a>"] {
            assert!(records(document.as_bytes(), "b").is_err(), "{document}");
        }
    }

    #[test]
    fn text_is_escaped() {
        let mut xml = Xml::root("R");
        xml.leaf("K", "a<b>&\"\u{1}").close("R");
        assert!(xml.finish().ends_with("<K>a&lt;b&gt;&amp;&quot;&#1;</K></R>"));
    }
}
