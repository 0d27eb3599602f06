//! The admin HTTP listener: the status page, health, readiness, metrics, the pages as JSON.
//!
//! Invariants: it only reads; it answers only when it is asked by an address, as localhost, or by
//! a name that the operator listed (`admin_hosts`), so that no web page elsewhere can reach it
//! through a name that it makes point here.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::pages;

mod assets;

/// A page, once it is there; `None`: there is no such page.
pub(crate) type Answer<'a> = Pin<Box<dyn Future<Output = Option<Value>> + Send + 'a>>;

/// What the listener shows.
pub(crate) trait Pages: Send + Sync + 'static {
    /// A page of the admin API.
    fn page<'a>(&'a self, name: &'a str) -> Answer<'a>;
    /// The metrics in Prometheus' text format.
    fn metrics(&self) -> String;
    /// Whether new work is taken, or why not.
    fn readiness(&self) -> Result<(), String>;
    /// Host names under which it answers, beside addresses and localhost.
    fn hosts(&self) -> &[String];
}

type Shown = State<Arc<dyn Pages>>;

/// Serves until `stop` resolves.
///
/// # Errors
/// When the listener fails.
pub(crate) async fn serve(
    listener: TcpListener,
    pages: Arc<dyn Pages>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/", get(assets::index))
        .route("/page/{file}", get(assets::file))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/v1/{page}", get(page))
        .fallback(async || not_found())
        .method_not_allowed_fallback(async || method_not_allowed())
        .layer(middleware::from_fn_with_state(Arc::clone(&pages), check_host))
        .layer(middleware::from_fn(assets::fence))
        .with_state(pages);
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

fn problem(status: StatusCode, name: &str, reason: String) -> Response {
    let error = json!({ "code": status.as_u16(), "name": name, "reason": reason });
    (status, axum::Json(json!({ "error": error }))).into_response()
}

fn not_found() -> Response {
    let pages = pages::NAMES.map(|name| format!("/api/v1/{name}")).join(", ");
    problem(StatusCode::NOT_FOUND, "no_page", format!("there are /, /healthz, /readyz, /metrics, {pages}"))
}

fn method_not_allowed() -> Response {
    problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the admin API is read with GET".into())
}

async fn check_host(State(pages): Shown, request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()).unwrap_or_default();
    // Of two, another reader of the request may believe the other one (RFC 9112 section 3.2).
    if is_admitted(host, pages.hosts()) && hosts.next().is_none() {
        return next.run(request).await;
    }
    let reason = format!("host '{host}': ask by address, as localhost, or by a name listed in admin_hosts");
    problem(StatusCode::FORBIDDEN, "foreign_host", reason)
}

/// An address literal, localhost or a listed name, with or without a port.
fn is_admitted(host: &str, listed: &[String]) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let is_named = |known: &str| name.eq_ignore_ascii_case(known);
    is_named("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok()
        || listed.iter().any(|known| is_named(known))
}

async fn readyz(State(pages): Shown) -> Response {
    match pages.readiness() {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics(State(pages): Shown) -> Response {
    // It reads files.
    match tokio::task::spawn_blocking(move || pages.metrics()).await {
        Ok(page) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
        }
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()),
    }
}

async fn page(State(pages): Shown, name: Result<Path<String>, PathRejection>) -> Response {
    let page = match &name {
        Ok(Path(name)) => pages.page(name).await,
        Err(_) => None,
    };
    page.map_or_else(not_found, |page| axum::Json(page).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[derive(Default)]
    struct Fixed(Vec<String>);

    impl Pages for Fixed {
        fn page<'a>(&'a self, name: &'a str) -> Answer<'a> {
            Box::pin(async move { (name == "status").then(|| json!({ "name": "x" })) })
        }
        fn metrics(&self) -> String {
            "up 1\n".into()
        }
        fn readiness(&self) -> Result<(), String> {
            Err("draining".into())
        }
        fn hosts(&self) -> &[String] {
            &self.0
        }
    }

    async fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn pages_answer_and_strangers_are_told_what_exists() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, Arc::new(Fixed::default()), async {
            let _ = stopped.await;
        }));
        let get = |path: &str, host: &str| {
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
        };
        let local = "127.0.0.1:4680";
        for (path, status, text) in [
            ("/healthz", "200", "ok"),
            ("/readyz", "503", "draining"),
            ("/metrics", "200", "version=0.0.4"),
            ("/api/v1/status", "200", "{\"name\":\"x\"}"),
            ("/api/v1/nothing", "404", "/api/v1/peers"),
            ("/nothing", "404", "/metrics"),
            ("/", "200", "frame-ancestors 'none'"),
            ("/", "200", "src=\"/page/main.js\""),
            ("/page/main.js", "200", "content-type: text/javascript"),
            ("/page/nothing.js", "404", "/api/v1/peers"),
            ("/api/v1/status", "200", "nosniff"),
        ] {
            let answer = ask(address, &get(path, local)).await;
            assert!(answer.contains(status) && answer.contains(text), "{path}: {answer}");
        }
        assert!(ask(address, &get("/metrics", "evil.example")).await.contains("403"));
        assert!(ask(address, &get("/metrics", "localhost:1")).await.contains("200"));
        let post =
            "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        assert!(ask(address, post).await.contains("405"));
        let _ = stop.send(());
        server.await.unwrap().unwrap();
    }

    #[test]
    fn a_listed_name_is_admitted_and_its_neighbours_are_not() {
        let listed = ["ewr".to_owned(), "ewr.example.org".to_owned()];
        for host in ["ewr", "EWR:4680", "ewr.example.org", "Ewr.Example.Org:80", "localhost", "[::1]:4680"] {
            assert!(is_admitted(host, &listed), "{host}");
        }
        for host in ["", ":4680", "jfk", "ewr.", "ewr.evil.example", "example.org", "x.ewr", "ewr:80:80", "*"]
        {
            assert!(!is_admitted(host, &listed), "{host}");
        }
        assert!(!is_admitted("ewr", &[]));
    }

    #[tokio::test]
    async fn odd_requests_get_an_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Arc::new(Fixed::default()), std::future::pending()));
        let tail = "Connection: close\r\n\r\n";
        for (request, status) in [
            (format!("GET /nothing HTTP/1.1\r\nHost: evil.example\r\n{tail}"), "403"),
            (format!("GET / HTTP/1.1\r\nHost: evil.example:4680\r\n{tail}"), "403"),
            (format!("GET / HTTP/1.1\r\nHost: localhost.evil.example\r\n{tail}"), "403"),
            (format!("GET / HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n{tail}"), "403"),
            (format!("GET / HTTP/1.1\r\n{tail}"), "403"),
            (format!("GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n{tail}"), "403"),
            (format!("GET / HTTP/1.1\r\nHost: [::1]:4680\r\n{tail}"), "200"),
            (format!("GET / HTTP/1.1\r\nHost: [::1]\r\n{tail}"), "200"),
            (format!("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n{tail}"), "200"),
            (format!("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n{tail}"), "200"),
            (format!("PUT /api/v1/status HTTP/1.1\r\nHost: localhost\r\n{tail}"), "405"),
            (format!("GET /api/v1/%ff HTTP/1.1\r\nHost: localhost\r\n{tail}"), "404"),
            (format!("GET /api/v1/ HTTP/1.1\r\nHost: localhost\r\n{tail}"), "404"),
            (format!("GET /healthz/ HTTP/1.1\r\nHost: localhost\r\n{tail}"), "404"),
        ] {
            let answer = ask(address, &request).await;
            let line = answer.lines().next().unwrap_or_default();
            assert!(line.contains(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
            if status == "404" || status == "405" || status == "403" {
                assert!(answer.contains("{\"error\":{\"code\":"), "{request}: {answer}");
            }
        }
        let huge = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n{tail}", "a".repeat(1 << 20));
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(huge.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!String::from_utf8_lossy(&answer).contains(" 200 "));
    }
}
