//! The files of the status page, in the binary, and the headers that fence all answers.
//!
//! Invariants:
//! 1. The page is complete in itself: its policy allows scripts, styles, images and requests of this
//!    listener and nothing else, nothing inline, and no frame around it.
//! 2. A file's tag changes with its content; browsers ask each time and get 304 where they have it.
//!
//! The page itself is in `page/`: `main.js` says what is where. There is no build step.

use std::io::Write;
use std::sync::LazyLock;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// A file of the page.
struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static [u8],
    packed: Option<Bytes>,
    tag: HeaderValue,
}

macro_rules! assets {
    ($($name:literal: $kind:expr),* $(,)?) => {
        [$(Asset::new($name, $kind, include_bytes!(concat!("page/", $name)))),*]
    };
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const COUNT: usize = 14;

static ASSETS: LazyLock<[Asset; COUNT]> = LazyLock::new(|| {
    assets! {
        "index.html": HTML,
        "style.css": CSS,
        "lantern.svg": SVG,
        "main.js": JS,
        "poll.js": JS,
        "metrics.js": JS,
        "model.js": JS,
        "history.js": JS,
        "format.js": JS,
        "dom.js": JS,
        "picture.js": JS,
        "chart.js": JS,
        "tables.js": JS,
        "theme.js": JS,
    }
});

impl Asset {
    fn new(name: &'static str, kind: &'static str, content: &'static [u8]) -> Asset {
        let digest = ring::digest::digest(&ring::digest::SHA256, content);
        let hex: String = digest.as_ref().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        // Weak: packed or not, it is the same file.
        let tag = HeaderValue::try_from(format!("W/\"{hex}\"")).unwrap_or(HeaderValue::from_static("W/\"\""));
        Asset { name, kind, content, packed: pack(content), tag }
    }

    fn answer(&self, request: &HeaderMap) -> Response {
        let head = [
            (header::ETAG, self.tag.clone()),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::CONTENT_TYPE, HeaderValue::from_static(self.kind)),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
        ];
        let has_it = |known: &str| known == "*" || known.as_bytes() == self.tag.as_bytes();
        if lists(request, &header::IF_NONE_MATCH, has_it) {
            return (StatusCode::NOT_MODIFIED, head).into_response();
        }
        match &self.packed {
            Some(packed) if lists(request, &header::ACCEPT_ENCODING, |known| known == "gzip") => {
                (head, [(header::CONTENT_ENCODING, "gzip")], packed.clone()).into_response()
            }
            _ => (head, self.content).into_response(),
        }
    }
}

/// With gzip; `None` where that does not work.
fn pack(content: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// Whether a header that is a list has a member like that.
fn lists(request: &HeaderMap, name: &HeaderName, is_wanted: impl Fn(&str) -> bool) -> bool {
    let values = request.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|member| is_wanted(member.trim()))
}

fn find(name: &str, request: &HeaderMap) -> Option<Response> {
    ASSETS.iter().find(|asset| asset.name == name).map(|asset| asset.answer(request))
}

/// The page itself.
pub(super) async fn index(request: HeaderMap) -> Response {
    find("index.html", &request).unwrap_or_else(super::not_found)
}

/// What the page loads, under `/page/`.
pub(super) async fn file(name: Result<Path<String>, PathRejection>, request: HeaderMap) -> Response {
    name.ok().and_then(|Path(name)| find(&name, &request)).unwrap_or_else(super::not_found)
}

const FENCES: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    // What is not of the page itself is a look at one moment.
    (header::CACHE_CONTROL, "no-store"),
];

/// Puts the fences around every answer that has none of its own.
pub(super) async fn fence(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in FENCES {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Most bytes of the whole page as a browser gets it.
    const BYTES_MAX: usize = 40 << 10;

    #[test]
    fn the_page_is_small_and_names_only_files_that_exist() {
        let bytes: usize = ASSETS.iter().filter_map(|asset| asset.packed.as_ref()).map(Bytes::len).sum();
        assert!(ASSETS.iter().all(|asset| asset.packed.is_some()));
        assert!(bytes <= BYTES_MAX, "{bytes} bytes");
        for asset in ASSETS.iter() {
            let text = std::str::from_utf8(asset.content).unwrap();
            for place in text.split("\"/page/").skip(1) {
                let name = place.split('"').next().unwrap();
                assert!(find(name, &HeaderMap::new()).is_some(), "{}: {name}", asset.name);
            }
            for place in text.split("from \"").skip(1) {
                let name = place.split('"').next().unwrap().trim_start_matches("./");
                assert!(find(name, &HeaderMap::new()).is_some(), "{}: {name}", asset.name);
            }
        }
    }

    #[test]
    fn what_the_browser_has_is_not_sent_again() {
        let tag = ASSETS[0].tag.clone();
        let ask = |known: &str| {
            let mut request = HeaderMap::new();
            request.insert(header::IF_NONE_MATCH, HeaderValue::try_from(known).unwrap());
            find("index.html", &request).unwrap().status()
        };
        let tag = tag.to_str().unwrap();
        assert_eq!(ask(tag), StatusCode::NOT_MODIFIED);
        assert_eq!(ask(&format!("\"x\", {tag}")), StatusCode::NOT_MODIFIED);
        assert_eq!(ask("\"x\""), StatusCode::OK);
        let tags: std::collections::BTreeSet<_> = ASSETS.iter().map(|asset| asset.tag.as_bytes()).collect();
        assert_eq!(tags.len(), COUNT);
    }

    #[test]
    fn a_file_is_packed_for_those_who_take_it() {
        let ask = |takes: &'static str| {
            let mut request = HeaderMap::new();
            request.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(takes));
            find("style.css", &request).unwrap().headers().get(header::CONTENT_ENCODING).cloned()
        };
        assert_eq!(ask("br, gzip"), Some(HeaderValue::from_static("gzip")));
        assert_eq!(ask("br, gzip;q=0"), None);
        assert_eq!(ask("identity"), None);
    }

    #[test]
    fn nothing_in_the_page_writes_markup_or_asks_elsewhere() {
        for asset in ASSETS.iter() {
            let text = std::str::from_utf8(asset.content).unwrap();
            for banned in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                " style=\"",
                "onclick=",
                "onload=",
                "https://",
                "@import",
                "url(http",
            ] {
                assert!(!text.contains(banned), "{}: {banned}", asset.name);
            }
            for place in text.split("http://").skip(1) {
                assert!(place.starts_with("www.w3.org/2000/svg"), "{}: http://{place:.40}", asset.name);
            }
        }
    }
}
