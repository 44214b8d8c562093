//! Refuses calls that name this server as it is not called: on a laptop they come from web pages.
//!
//! A page may point its own name at 127.0.0.1 after it was loaded (DNS rebinding). To the browser this server then is
//! the page's own origin, so that neither CORS nor the `Origin` header gives it away; the name in `Host` does. An IP
//! address in its place is no name that anybody could point elsewhere, and is let through.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use tonic::Status;

/// Names that always mean this machine; names below `localhost` do, too.
const LOCAL: &str = "localhost";

/// Checks what the calls of a listener name it, if it listens on this machine alone or names are configured.
pub fn guarded(router: Router, address: SocketAddr, names: &[String]) -> Router {
    if names.is_empty() && !address.ip().is_loopback() {
        return router;
    }
    let names: Arc<[String]> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    router.layer(middleware::from_fn_with_state(names, guard))
}

async fn guard(State(names): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let host = request.headers().get(header::HOST);
    let host = host.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    match authority.into_iter().chain(host).find(|host| !is_ours(&names, host)) {
        None => next.run(request).await,
        Some(host) => refused(&request, &host),
    }
}

fn refused(request: &Request, host: &str) -> Response {
    let shown: String = host.chars().filter(|c| c.is_ascii_graphic()).take(100).collect();
    tracing::warn!(host = shown, "call refused: this server does not go by that name");
    let text = format!(
        "this server does not go by the name `{shown}`; if it should, add the name to `api.hosts` of its configuration"
    );
    let kind = request.headers().get(header::CONTENT_TYPE).map(header::HeaderValue::as_bytes);
    if kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        return Status::permission_denied(text).into_http::<Body>();
    }
    (StatusCode::MISDIRECTED_REQUEST, format!("{text}\n")).into_response()
}

fn is_ours(names: &[String], host: &str) -> bool {
    let name = name(host).to_ascii_lowercase();
    let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let is_local = name == LOCAL || name.strip_suffix(LOCAL).is_some_and(|rest| rest.ends_with('.'));
    is_address || is_local || names.iter().any(|known| matches(known, &name))
}

fn matches(known: &str, name: &str) -> bool {
    match known.strip_prefix('*') {
        Some(end) => name.len() > end.len() && name.ends_with(end),
        None => known == name,
    }
}

/// The name without user, port and final dot.
fn name(host: &str) -> &str {
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// Refuses what can't be a name to listen for.
pub(crate) fn validate(names: &[String]) -> Result<(), String> {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    match names.iter().find(|name| *name != "*" && !is_name(name.strip_prefix("*.").unwrap_or(name))) {
        Some(name) => Err(format!(
            "hosts: `{name}` is no name; write `host.example`, `*.example` or `*`, without a port"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::any;
    use tower::ServiceExt;

    use super::*;

    #[test]
    fn only_own_names_and_addresses_are_let_through() {
        let names = ["pinion.example".to_owned(), "*.lab.example".to_owned()];
        for ours in [
            "localhost:30080",
            "LocalHost.",
            "api.localhost",
            "127.0.0.1",
            "127.0.0.1:1",
            "[::1]:30080",
            "[::1]",
            "0.0.0.0:30080",
            "192.168.1.7:80",
            "pinion.example:443",
            "a.lab.example",
        ] {
            assert!(is_ours(&names, ours), "{ours}");
        }
        for foreign in [
            "evil.example",
            "evil.example:30080",
            "notlocalhost",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "lab.example",
            ".lab.example.evil",
            "localhost:30080:evil.example",
            "evil.example:30080.",
            "",
            "localhost@evil.example",
        ] {
            assert!(!is_ours(&names, foreign), "{foreign}");
        }
        assert!(is_ours(&["*".to_owned()], "evil.example"));
    }

    #[test]
    fn names_with_ports_or_paths_are_refused() {
        let validate = |name: &str| super::validate(&[name.to_owned()]);
        for good in ["a.example", "*.example", "*"] {
            validate(good).unwrap();
        }
        for bad in ["", "a:80", "http://a", "a/b", "*a", "*."] {
            assert!(validate(bad).unwrap_err().contains("hosts"), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_page_under_a_strange_name_is_told_so_in_its_own_protocol() {
        let ask = async |address: &str, names: &[String], kind: &str| {
            let router = Router::new().route("/x", any(async || "ok"));
            let router = guarded(router, address.parse().unwrap(), names);
            let request = Request::post("/x").header("host", "evil.example:1").header("content-type", kind);
            router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
        };
        let rest = ask("127.0.0.1:1", &[], "application/json").await;
        assert_eq!(rest.status(), StatusCode::MISDIRECTED_REQUEST);
        let body = axum::body::to_bytes(rest.into_body(), 1 << 20).await.unwrap();
        assert!(String::from_utf8_lossy(&body).contains("`api.hosts`"), "{body:?}");
        let grpc = ask("[::1]:1", &[], "application/grpc+proto").await;
        assert_eq!(grpc.headers()["grpc-status"], "7");
        // Whoever listens to the network has names that are not known here, until they are configured.
        assert_eq!(ask("0.0.0.0:1", &[], "a/b").await.status(), StatusCode::OK);
        let names = ["pinion.example".to_owned()];
        assert_eq!(ask("0.0.0.0:1", &names, "a/b").await.status(), StatusCode::MISDIRECTED_REQUEST);
        assert_eq!(ask("127.0.0.1:1", &["evil.example".to_owned()], "a/b").await.status(), StatusCode::OK);
    }
}
