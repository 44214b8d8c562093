//! Answers the console links that clients print: this version has no console, and says what to type instead.

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

/// `/console` and everything below it; `/` leads there.
pub(crate) fn routes() -> Router {
    Router::new()
        .route("/", get(|| async { Redirect::temporary("/console") }))
        .route("/console", get(|| async { page(String::new()) }))
        .route("/console/{*path}", get(|Path(path): Path<String>| async move { page(path) }))
}

fn page(path: String) -> Response {
    let text =
        format!("This version of Pinion has no web console. On the command line:\n\n{}", commands(&path));
    (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// The commands that show what a console path is about.
fn commands(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    match parts.as_slice() {
        ["projects", project, "domains", domain, "executions", name, ..]
            if [project, domain, name].iter().all(|part| plain(part)) =>
        {
            let place = format!("-p {project} -d {domain}");
            format!(
                "  pinion watch {name} {place}\n  pinion get execution {name} --inputs --outputs {place}\n  \
                 pinion get nodes {name} {place}\n  pinion logs {name} NODE {place}\n"
            )
        }
        _ => "  pinion get executions\n  pinion get workflows\n  pinion --help\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_link_names_the_commands_for_that_execution() {
        let text = commands("projects/p/domains/d/executions/abc/nodeId/n0/nodes");
        assert!(text.contains("pinion watch abc -p p -d d"), "{text}");
    }

    #[test]
    fn nothing_of_a_strange_link_is_echoed() {
        let text = commands("projects/p/domains/d/executions/$(reboot)");
        assert!(!text.contains("reboot") && text.contains("pinion get executions"), "{text}");
    }
}
