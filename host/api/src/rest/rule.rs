//! Reads from the descriptors which methods have which paths, and prepares each for quick calls.

use http::{Method, uri::PathAndQuery};
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor, MethodDescriptor, Value,
};

use super::{
    json,
    template::{Table, Template},
};

/// One way to call one method.
#[derive(Debug)]
pub(crate) struct Route {
    /// The method, as gRPC calls it.
    pub(crate) grpc_path: PathAndQuery,
    pub(crate) descriptor: MethodDescriptor,
    pub(crate) http_method: Method,
    pub(crate) template: Template,
    /// For each field of the path the way to it.
    pub(crate) path_fields: Vec<Vec<FieldDescriptor>>,
    pub(crate) body: Body,
    pub(crate) output: json::Type,
}

/// What the body of a request is.
#[derive(Debug, PartialEq)]
pub(crate) enum Body {
    /// Nothing is read; what the path does not say, the query may.
    None,
    /// The whole message.
    Whole,
    /// One field; the rest may be in the query.
    Field(FieldDescriptor),
}

/// Why a rule can't be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RuleError {
    #[error(transparent)]
    Template(#[from] super::template::UnknownForm),
    #[error("{message} has no field `{field}`")]
    Field { message: String, field: String },
    #[error("the rule names no HTTP method that is known")]
    Method,
}

/// All routes of some services, in the order they are declared.
///
/// # Errors
/// The first rule that can't be served, with its method.
pub(crate) fn routes(
    pool: &DescriptorPool,
    services: &[&str],
) -> Result<Vec<Route>, Box<(String, RuleError)>> {
    let mut routes = Vec::new();
    for service in services.iter().filter_map(|name| pool.get_service_by_name(name)) {
        for method in service.methods() {
            for rule in rules(pool, &method) {
                let route = Route::new(&method, &rule)
                    .map_err(|error| Box::new((method.full_name().to_owned(), error)))?;
                routes.push(route);
            }
        }
    }
    Ok(routes)
}

/// A table of them.
pub(crate) fn table(routes: Vec<Route>) -> Table<Route> {
    let mut table = Table::default();
    for route in routes {
        let (method, template) = (route.http_method.clone(), route.template.clone());
        table.insert(method, &template, route);
    }
    table
}

/// The `google.api.HttpRule` of a method and those inside it.
fn rules(pool: &DescriptorPool, method: &MethodDescriptor) -> Vec<DynamicMessage> {
    let Some(extension) = pool.get_extension_by_name("google.api.http") else { return Vec::new() };
    let options = method.options();
    if !options.has_extension(&extension) {
        return Vec::new();
    }
    let Some(main) = options.get_extension(&extension).as_message().cloned() else { return Vec::new() };
    let additional = main.get_field_by_name("additional_bindings");
    let additional: Vec<_> = additional
        .as_deref()
        .and_then(Value::as_list)
        .map(|rules| rules.iter().filter_map(Value::as_message).cloned().collect())
        .unwrap_or_default();
    std::iter::once(main).chain(additional).collect()
}

fn text(rule: &DynamicMessage, field: &str) -> Option<String> {
    let value = rule.get_field_by_name(field)?;
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

impl Route {
    fn new(method: &MethodDescriptor, rule: &DynamicMessage) -> Result<Self, RuleError> {
        let methods = [Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::PATCH].into_iter();
        let mut found = methods.filter_map(|method| {
            let path = text(rule, &method.as_str().to_ascii_lowercase())?;
            Some((method, path))
        });
        let (http_method, path) = found.next().ok_or(RuleError::Method)?;
        let template = Template::parse(&path)?;
        let input = method.input();
        let missing =
            |field: &str| RuleError::Field { message: input.full_name().to_owned(), field: field.to_owned() };
        let path_fields = template
            .fields()
            .map(|path| way(&input, path).ok_or_else(|| missing(path)))
            .collect::<Result<_, _>>()?;
        let body = match text(rule, "body").as_deref() {
            None => Body::None,
            Some("*") => Body::Whole,
            Some(name) => Body::Field(input.get_field_by_name(name).ok_or_else(|| missing(name))?),
        };
        let full = format!("/{}/{}", method.parent_service().full_name(), method.name());
        Ok(Self {
            grpc_path: PathAndQuery::try_from(full).map_err(|_| RuleError::Method)?,
            output: json::type_of(&method.output()).ok_or_else(|| missing("(reply)"))?,
            descriptor: method.clone(),
            http_method,
            template,
            path_fields,
            body,
        })
    }

    /// Whether the path or the body fills a field, so that the query may not.
    pub(crate) fn fills(&self, way: &[FieldDescriptor]) -> bool {
        match (&self.body, way) {
            (Body::Whole, _) => true,
            (Body::Field(field), [first, ..]) if field == first => true,
            _ => self.path_fields.iter().any(|filled| filled == way),
        }
    }
}

/// The fields on the way to a nested one, by their names as declared or as in JSON: `sort_by.key`, `sortBy.key`.
pub(crate) fn way(message: &MessageDescriptor, path: &str) -> Option<Vec<FieldDescriptor>> {
    let mut at = Some(message.clone());
    let mut way = Vec::new();
    for name in path.split('.') {
        let message = at?;
        let field = message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name))?;
        at = field.kind().as_message().filter(|_| !field.is_list() && !field.is_map()).cloned();
        way.push(field);
    }
    Some(way)
}
