//! Makes the encoded request message of a path, a query and a body. Pure.

use bytes::Bytes;
use prost::Message;
use prost_reflect::{DynamicMessage, Value};
use tonic::Status;

use super::{
    encoding::Encoding,
    json,
    rule::{self, Body, Route},
    value,
};

/// The parts of an HTTP request that make a message.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    /// What stands in the path where the template has fields.
    pub(crate) path: &'a [String],
    pub(crate) query: &'a str,
    pub(crate) body: Bytes,
    pub(crate) encoding: Encoding,
}

/// Builds the message. What the path says goes before what the body says.
///
/// # Errors
/// `INVALID_ARGUMENT` with the field.
pub(crate) fn message(route: &Route, parts: &Parts<'_>) -> Result<Bytes, Status> {
    let mut message = DynamicMessage::new(route.descriptor.input());
    if route.body != Body::Whole {
        query(route, parts.query, &mut message)?;
    }
    for (way, text) in route.path_fields.iter().zip(parts.path) {
        let name = way.iter().map(|field| field.name().to_owned()).collect::<Vec<_>>().join(".");
        value::set(&mut message, way, &name, text)
            .map_err(|unfit| Status::invalid_argument(unfit.to_string()))?;
    }
    match &route.body {
        Body::None => Ok(message.encode_to_vec().into()),
        Body::Whole => {
            let body = whole(route, parts)?;
            if route.path_fields.is_empty() {
                return Ok(body);
            }
            // Messages one behind the other are merged when they are read, and the last value stays.
            let mut bytes = Vec::from(body);
            message.encode(&mut bytes).map_err(|error| Status::internal(error.to_string()))?;
            Ok(bytes.into())
        }
        Body::Field(field) => {
            let Some(inner) = field.kind().as_message().cloned() else {
                return Err(Status::unimplemented(format!("body `{}` is no message", field.name())));
            };
            let inner = match parts.encoding {
                Encoding::Json => json::read(&inner, &parts.body).map_err(|error| bad_body(&error))?,
                Encoding::Binary(_) => DynamicMessage::decode(inner, parts.body.clone())
                    .map_err(|error| bad_body(&error.to_string()))?,
            };
            message.set_field(field, Value::Message(inner));
            Ok(message.encode_to_vec().into())
        }
    }
}

fn whole(route: &Route, parts: &Parts<'_>) -> Result<Bytes, Status> {
    match parts.encoding {
        // Read where every call is read; a broken one is refused there.
        Encoding::Binary(_) => Ok(parts.body.clone()),
        Encoding::Json => {
            let input = route.descriptor.input();
            let found = json::read(&input, &parts.body).map_err(|error| bad_body(&error))?;
            Ok(found.encode_to_vec().into())
        }
    }
}

fn bad_body(error: &str) -> Status {
    Status::invalid_argument(format!("cannot read the body: {error}"))
}

/// Reads the query. Names that the message does not have are passed over, as grpc-gateway does.
fn query(route: &Route, query: &str, message: &mut DynamicMessage) -> Result<(), Status> {
    let input = route.descriptor.input();
    let mut seen: Vec<String> = Vec::new();
    for (name, text) in form_urlencoded::parse(query.as_bytes()) {
        let (path, key) = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
            Some((path, key)) => (path, Some(key)),
            None => (&*name, None),
        };
        let Some(way) = rule::way(&input, path) else { continue };
        if route.fills(&way) {
            continue;
        }
        let set = match key {
            Some(key) => value::set_entry(message, &way, &name, key, &text),
            None => {
                let is_list = way.last().is_some_and(|field| field.is_list());
                if !is_list && seen.iter().any(|seen| *seen == name) {
                    return Err(Status::invalid_argument(format!("{name}: is given more than once")));
                }
                seen.push(name.clone().into_owned());
                value::set(message, &way, &name, &text)
            }
        };
        set.map_err(|unfit| Status::invalid_argument(unfit.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;
    use proto::flyteidl::admin::NamedEntityUpdateRequest;

    use super::*;

    /// A route of a method that is made for the test, on messages that there are.
    fn route(rule: &str) -> Route {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            r#"syntax = "proto3";
            package test;
            import "google/api/annotations.proto";
            import "flyteidl/admin/common.proto";
            service Items {{
              rpc Put(flyteidl.admin.NamedEntityUpdateRequest) returns (flyteidl.admin.NamedEntity) {{
                option (google.api.http) = {{ {rule} }};
              }}
            }}"#
        );
        std::fs::write(dir.path().join("test.proto"), text).unwrap();
        let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto");
        let mut compiler = protox::Compiler::new([dir.path(), proto.as_ref()]).unwrap();
        compiler.include_imports(true).open_file("test.proto").unwrap();
        let pool = DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap();
        rule::routes(&pool, &["test.Items"]).unwrap().remove(0)
    }

    fn made(
        rule: &str,
        query: &str,
        body: &[u8],
        encoding: Encoding,
    ) -> Result<NamedEntityUpdateRequest, Status> {
        let path = ["x".to_owned()];
        let body = Bytes::copy_from_slice(body);
        let bytes = message(&route(rule), &Parts { path: &path, query, body, encoding })?;
        Ok(NamedEntityUpdateRequest::decode(bytes).unwrap())
    }

    #[test]
    fn a_body_may_be_one_field() {
        let rule = r#"put: "/items/{id.name=*}" body: "metadata""#;
        let query = "id.domain=d&resourceType=TASK&metadata.state=1&id.name=other";
        let found = made(rule, query, br#"{"description": "b"}"#, Encoding::Json).unwrap();
        let id = found.id.unwrap();
        assert_eq!((id.name.as_str(), id.domain.as_str(), found.resource_type), ("x", "d", 1));
        let metadata = found.metadata.unwrap();
        assert_eq!((metadata.description.as_str(), metadata.state), ("b", 0), "the body fills it alone");
        let binary = made(rule, query, b"\x0a\x01b", Encoding::Binary("application/octet-stream")).unwrap();
        assert_eq!(binary.metadata.unwrap().description, "b");
    }

    #[test]
    fn a_whole_body_leaves_the_query_unread() {
        let rule = r#"post: "/items/{id.name}" body: "*""#;
        let body = br#"{"id": {"project": "p", "name": "other"}}"#;
        let id = made(rule, "id.domain=d", body, Encoding::Json).unwrap().id.unwrap();
        assert_eq!((id.project.as_str(), id.domain.as_str(), id.name.as_str()), ("p", "", "x"));
    }

    #[test]
    fn without_a_body_the_query_says_the_rest() {
        let rule = r#"get: "/items/{id.name}""#;
        for (query, says) in [
            ("resource_type=NOTHING", "resource_type: `NOTHING` is none of"),
            ("metadata=1", "metadata: is a message"),
            ("resource_type=1&resource_type=2", "more than once"),
            ("id.org[a]=b", "is no map"),
        ] {
            let error = made(rule, query, b"ignored", Encoding::Json).unwrap_err();
            assert!(error.message().contains(says), "{query}: {error}");
        }
        let found =
            made(rule, "metadata.state=NAMED_ENTITY_ARCHIVED&no.such=1", b"", Encoding::Json).unwrap();
        assert_eq!(found.metadata.unwrap().state, 1);
    }

    #[test]
    fn rules_that_can_not_be_served_say_why() {
        let rule = |text: &str| std::panic::catch_unwind(|| route(text).template.to_string());
        assert_eq!(rule(r#"get: "/items/{id.name}""#).unwrap(), "/items/{id.name}");
        for broken in [
            r#"get: "/items/{id.nothing}""#,
            r#"get: "/items/{name=a/**}""#,
            r#"custom: { kind: "HEAD" path: "/items" }"#,
            r#"put: "/items" body: "nothing""#,
        ] {
            assert!(rule(broken).is_err(), "{broken}");
        }
    }
}
