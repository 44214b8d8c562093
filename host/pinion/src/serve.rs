//! Serves HTTP/1.1 and HTTP/2 (gRPC) on one listener until told to drain.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long open connections may go on after the drain began.
const LINGER: Duration = Duration::from_secs(5);

/// Binds before anything else is started, so that a busy port is said at once.
pub(crate) async fn bind(address: SocketAddr, what: &str, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("{what} cannot listen on {address}: is the port in use by another server? Choose another with {flag}")
    })
}

/// Serves until the token is cancelled, then lets open requests end.
pub(crate) async fn run(listener: TcpListener, router: Router, drain: CancellationToken) -> Result<()> {
    // Small answers must not wait for Nagle's algorithm: it costs 40 ms for each.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
    });
    let signal = drain.clone();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move { signal.cancelled().await });
    tokio::select! {
        result = server.into_future() => result.context("the HTTP server failed"),
        () = async { drain.cancelled().await; tokio::time::sleep(LINGER).await } => Ok(()),
    }
}
