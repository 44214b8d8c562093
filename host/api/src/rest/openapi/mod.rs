//! Describes the REST paths as an OpenAPI 3.0 document, made of the descriptors by the first request for it.

mod comment;
mod schema;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::rule::{self, Body as RuleBody, Route};
use crate::descriptors;
use comment::Comments;
use schema::Schemas;

/// Messages within messages that a query may reach into.
const MAX_QUERY_DEPTH: usize = 4;

static DOCUMENT: OnceLock<Bytes> = OnceLock::new();

/// Answers the document.
pub(crate) async fn serve() -> Response {
    let document = DOCUMENT.get_or_init(|| {
        let routes = rule::routes(descriptors::pool(), &super::SERVICES).unwrap_or_default();
        document(descriptors::pool(), &routes).to_string().into()
    });
    let mut response = Response::new(Body::from(document.clone()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The document of some routes.
pub(crate) fn document(pool: &DescriptorPool, routes: &[Route]) -> Value {
    let comments = Comments::of(pool);
    let mut schemas = Schemas::new(&comments);
    let mut paths = Map::new();
    for (n, route) in routes.iter().enumerate() {
        let n_before = routes.iter().take(n).filter(|other| other.descriptor == route.descriptor).count();
        let operation = operation(route, n_before, &comments, &mut schemas);
        let path = paths.entry(route.template.to_string()).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.http_method.as_str().to_ascii_lowercase(), operation);
        }
    }
    let mut schemas = schemas.into_map();
    schemas.insert("google.rpc.Status".to_owned(), status_schema());
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Flyte API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The calls of Flyte's gRPC services over REST. Bodies and replies are JSON or, by \
                `Content-Type` and `Accept`, binary protobuf messages (`application/octet-stream`).",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {
                "Refusal": {
                    "description": "Why the call was refused.",
                    "content": content(&json!({"$ref": "#/components/schemas/google.rpc.Status"})),
                },
            },
        },
    })
}

fn operation(route: &Route, n_before: usize, comments: &Comments, schemas: &mut Schemas<'_>) -> Value {
    let method = &route.descriptor;
    let service = method.parent_service();
    let mut id = format!("{}_{}", service.name(), method.name());
    if n_before > 0 {
        id.push_str(&format!("_{}", n_before + 1));
    }
    let mut operation = json!({
        "operationId": id,
        "tags": [service.name()],
        "parameters": parameters(route, schemas),
        "responses": {
            "200": {
                "description": "The reply.",
                "content": content(&schemas.message(&method.output())),
            },
            "default": {"$ref": "#/components/responses/Refusal"},
        },
    });
    let Some(fields) = operation.as_object_mut() else { return operation };
    if let Some(text) = comments.find(&service.parent_file(), method.path()) {
        fields.insert("description".to_owned(), json!(text));
    }
    let body = match &route.body {
        RuleBody::None => None,
        RuleBody::Whole => Some(schemas.message(&method.input())),
        RuleBody::Field(field) => Some(schemas.field(field)),
    };
    if let Some(schema) = body {
        fields.insert("requestBody".to_owned(), json!({"required": true, "content": content(&schema)}));
    }
    operation
}

/// A message as JSON, and as bytes.
fn content(schema: &Value) -> Value {
    json!({
        "application/json": {"schema": schema},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    })
}

fn parameters(route: &Route, schemas: &mut Schemas<'_>) -> Vec<Value> {
    let mut found = Vec::new();
    for (name, way) in route.template.fields().zip(&route.path_fields) {
        let Some(field) = way.last() else { continue };
        found.push(json!({"name": name, "in": "path", "required": true, "schema": schemas.field(field)}));
    }
    if route.body != RuleBody::Whole {
        query(route, &route.descriptor.input(), &mut Vec::new(), schemas, &mut found);
    }
    found
}

/// The fields of a message that a query may fill, those of messages inside it by their dotted names.
fn query(
    route: &Route,
    message: &MessageDescriptor,
    way: &mut Vec<FieldDescriptor>,
    schemas: &mut Schemas<'_>,
    found: &mut Vec<Value>,
) {
    for field in message.fields().filter(|field| !field.is_map()) {
        way.push(field.clone());
        match field.kind() {
            _ if route.fills(way) => {}
            Kind::Message(inner) if !inner.full_name().starts_with("google.protobuf.") => {
                let is_within_itself = way.iter().any(|step| step.parent_message() == &inner);
                if !field.is_list() && !is_within_itself && way.len() < MAX_QUERY_DEPTH {
                    query(route, &inner, way, schemas, found);
                }
            }
            _ => {
                let name = way.iter().map(|step| step.name()).collect::<Vec<_>>().join(".");
                let mut parameter = json!({"name": name, "in": "query", "schema": schemas.field(&field)});
                if let (Some(text), Some(fields)) = (schemas.comment(&field), parameter.as_object_mut()) {
                    fields.insert("description".to_owned(), json!(text));
                }
                found.push(parameter);
            }
        }
        way.pop();
    }
}

fn status_schema() -> Value {
    json!({
        "type": "object",
        "description": "What went wrong: a gRPC code, a text, and messages that say more.",
        "properties": {
            "code": {"type": "integer", "format": "int32"},
            "message": {"type": "string"},
            "details": {"type": "array", "items": schema::any()},
        },
    })
}
