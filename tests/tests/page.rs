//! The status page in a real browser: what it shows of a federation at work, whom it asks, whether
//! it can be used by keyboard and read by everybody, and what it does when its broker is gone.
#![allow(clippy::unwrap_used, reason = "a failure here fails the test, as it should")]

use std::time::{Duration, Instant};

use fanal_client::Client;
use fanal_tests::broker::{Broker, World, free_address};
use fanal_tests::http::{Metrics, get};
use fanal_tests::tool::AXE;
use fanal_tests::wait::{until, within};
use fanal_tests::webdriver::{Browser, Key};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Between two events of a publisher.
const PACE: Duration = Duration::from_millis(10);
/// Most places that Tab may pass on its way through the page.
const TABS_MAX: usize = 40;
/// What names may look like; none of it may become part of the page.
const MARKUP: &str = "<img src=x onerror=\"window.fooled=1\">";

/// Publishes at a steady pace until it is aborted.
fn publish_steadily(client: Client, topic: &'static str) -> JoinHandle<()> {
    tokio::spawn(async move {
        let publisher = client.publisher();
        let mut pace = tokio::time::interval(PACE);
        loop {
            pace.tick().await;
            // The broker may be stopped while this runs; whoever waits for events sees that.
            let _ = publisher.publish(topic).payload("x").await;
        }
    })
}

fn open(browser: &Browser, broker: &Broker) {
    browser.open(&format!("http://{}/", broker.admin()));
    browser.run("performance.setResourceTimingBufferSize(100000)");
}

/// What the picture says of the peers: `name state, …`.
fn drawn(browser: &Browser) -> String {
    browser.text(
        "return [...document.querySelectorAll('.peer')].map((peer) => `${peer.dataset.peer} ${peer.dataset.state}`).join(', ')",
    )
}

/// Cell of the peers' table, by peer and column.
fn cell(browser: &Browser, peer: &str, column: &str) -> String {
    browser.text(&format!(
        "const row = [...document.querySelectorAll('#peers tbody tr')].find((row) => row.children[0].textContent === '{peer}');
         return row ? row.querySelector('[data-label=\"{column}\"]').textContent : ''"
    ))
}

/// A figure as a number; 0 where it is none.
fn number(text: &str) -> f64 {
    text.replace(',', "").split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

async fn shown(what: &str, mut is_shown: impl FnMut() -> bool) {
    until(what, || is_shown().then_some(())).await;
}

fn assert_no_complaints(browser: &Browser) {
    let console = browser.console();
    assert!(console.is_empty(), "the browser complains: {console:#?}");
}

fn assert_readable(browser: &Browser, theme: &str) {
    assert_eq!(browser.text("return document.documentElement.dataset.theme"), theme);
    let found = browser.run(include_str!("page/contrast.js"));
    assert!(found["checked"].as_u64().unwrap() > 80, "{found}");
    assert_eq!(found["low"], Value::Array(Vec::new()), "contrast too low in the {theme} theme");
}

/// Rules of accessibility by axe-core, where it is there.
fn assert_accessible(browser: &Browser, axe: Option<&str>) {
    let Some(axe) = axe else { return };
    if !browser.run("return Boolean(window.axe)").as_bool().unwrap() {
        browser.run(axe);
    }
    let found = browser.run(
        "return axe.run(document, { resultTypes: ['violations'] }).then(({ violations, passes }) => ({
            rules: passes.length,
            violations: violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).slice(0, 3)}`),
        }))",
    );
    assert!(found["rules"].as_u64().unwrap() > 20, "{found}");
    assert_eq!(found["violations"], Value::Array(Vec::new()));
}

fn assert_fits(browser: &Browser, widths: &[u32]) {
    for width in widths {
        browser.resize(*width, 900);
        let over = browser.run(
            "return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
                const over = [...document.body.querySelectorAll('*')].filter((node) => node.getBoundingClientRect().right > innerWidth + 0.5
                    && !node.closest('.skip, .unseen, .quiet, thead, svg'));
                done([document.documentElement.scrollWidth - innerWidth, over.slice(0, 3).map((node) => node.outerHTML.slice(0, 120))]);
            })))",
        );
        assert!(over[0].as_i64().unwrap() <= 0, "{width} px: {over}");
        assert_eq!(over[1], Value::Array(Vec::new()), "{width} px");
    }
}

/// Goes through the page by Tab; what was focused of the picture, in order.
fn tab_through_peers(browser: &Browser) -> Vec<String> {
    browser.run("document.activeElement.blur(); scrollTo(0, 0)");
    let mut found = Vec::new();
    for _ in 0..TABS_MAX {
        browser.press(Key::Tab);
        let name = browser
            .text("return document.activeElement.closest('.peer')?.querySelector('.button').getAttribute('aria-label') ?? ''");
        if found.first() == Some(&name) {
            break; // Once around.
        }
        if !name.is_empty() {
            found.push(name);
        }
    }
    found
}

fn title(browser: &Browser) -> String {
    browser.text("return document.getElementById('details-title').textContent")
}

fn announced(browser: &Browser) -> String {
    browser.text("return document.getElementById('announcer').textContent")
}

fn is_visible(browser: &Browser, id: &str) -> bool {
    let script = format!("return document.getElementById('{id}').checkVisibility()");
    browser.run(&script).as_bool().unwrap()
}

fn assert_asks_nobody_else(browser: &Browser, broker: &Broker) {
    let asked = browser
        .run("return [location.href, ...performance.getEntriesByType('resource').map(({ name }) => name)]");
    let own = format!("http://{}/", broker.admin());
    let asked: Vec<&str> = asked.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(asked.len() > 15, "{asked:?}");
    assert!(asked.iter().all(|url| url.starts_with(&own)), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_a_federation_at_work() {
    const TEST: &str = "the_page_shows_a_federation_at_work";
    let Some(browser) = Browser::start(TEST) else { return };
    let axe = AXE.read(TEST);
    let world = World::new();
    let ewr = world.broker("ewr").start();
    let mut jfk = world.broker("jfk").peer("ewr", ewr.listen()).start();
    let lga = world.broker("lga").peer("ewr", ewr.listen()).peer("jfk", jfk.listen()).start();
    // What was there before the page was opened is no news.
    shown("both links", || Metrics::of(&ewr).sum("fanal_link_up", &[]) == 2.0).await;
    open(&browser, &ewr);
    // Durable at jfk, so that events wait for it while it is away; live at lga and at home.
    let (at_jfk, at_lga, at_ewr) = tokio::join!(jfk.client(), lga.client(), ewr.client());
    let audit = within("a receipt", at_jfk.subscribe("#").durable("audit")).await.unwrap();
    let _live = within("a receipt", at_lga.subscribe("#")).await.unwrap();
    let _home = within("a receipt", at_ewr.subscribe("#")).await.unwrap();
    let odd = Client::builder(&ewr.credentials()).agent(MARKUP);
    let odd = within("a connection", odd.connect()).await.unwrap();
    let _odd = within("a receipt", odd.subscribe("<b>/#").durable(MARKUP)).await.unwrap();
    let loads = [publish_steadily(at_ewr.clone(), "t/ewr"), publish_steadily(at_lga.clone(), "t/lga")];

    // Picture and table agree with each other and with the API.
    shown("both peers, up", || drawn(&browser) == "jfk up, lga up").await;
    let (_, api) = get(ewr.admin(), "/api/v1/peers");
    let api: Value = serde_json::from_str(&api).unwrap();
    for peer in api["peers"].as_array().unwrap() {
        assert_eq!(
            (peer["state"].as_str(), peer["refused"].as_bool()),
            (Some("linked"), Some(false)),
            "{peer}"
        );
        assert_eq!(cell(&browser, peer["name"].as_str().unwrap(), "State"), "up");
    }
    shown("rates", || {
        let figure =
            |id: &str| number(&browser.text(&format!("return document.getElementById('{id}').textContent")));
        let links = [("jfk", "Out, events/s"), ("lga", "Out, events/s"), ("lga", "In, events/s")];
        figure("f-published") > 1.0
            && figure("f-delivered") > 1.0
            && links.iter().all(|(peer, column)| number(&cell(&browser, peer, column)) > 1.0)
    })
    .await;
    shown("lines in the charts", || {
        let points = browser.run(
            "return [...document.querySelectorAll('#charts .chart')].map((chart) => Math.max(...[...chart.querySelectorAll('path.line')]
                .map((line) => (line.getAttribute('d') ?? '').split('L').length)))",
        );
        let points = points.as_array().unwrap();
        points.len() == 8 && points.iter().all(|count| count.as_u64().unwrap() >= 3)
    })
    .await;
    let labels = browser
        .run("return [...document.querySelectorAll('#charts .plot')].map((plot) => plot.getAttribute('aria-label'))");
    assert!(labels[0].as_str().unwrap().contains("published "), "{labels}");

    // Clients are asked for by themselves, and less often than figures.
    shown("clients", || {
        let clients = browser.text("return document.querySelector('.clients').textContent");
        clients.contains("1 publisher") && clients.contains("2 subscribers")
    })
    .await;
    assert_still_for_those_who_ask(&browser);

    // What others chose as names is text.
    shown("odd names", || {
        let text = browser.text("return document.body.textContent");
        text.matches(MARKUP).count() >= 3 && text.contains("<b>/#")
    })
    .await;
    let made = browser.run("return [window.fooled ?? 0, document.querySelectorAll('img').length, document.querySelectorAll('main b').length - document.querySelectorAll('.figures b, .keys b').length]");
    assert_eq!(made, json!([0, 1, 0]), "a name became markup");

    // By keyboard alone.
    assert_eq!(tab_through_peers(&browser), ["jfk: up", "lga: up"]);
    browser.run("document.querySelector('.peer .button').focus()");
    shown("details of the focused peer", || title(&browser) == "jfk").await;
    browser.press(Key::ArrowDown);
    shown("details of the next peer", || title(&browser) == "lga").await;
    browser.press(Key::Enter);
    assert_eq!(browser.text("return document.activeElement.id"), "details-title");
    let facts = browser.text("return document.getElementById('facts').textContent");
    assert!(facts.contains("Round trip") && facts.contains(&lga.listen().ip().to_string()), "{facts}");
    browser.press(Key::Escape);
    assert_eq!(browser.text("return document.activeElement.getAttribute('aria-label')"), "lga: up");

    // In both themes, at every width, for everybody.
    browser.resize(1440, 900);
    assert_readable(&browser, "light");
    assert_accessible(&browser, axe.as_deref());
    browser.run("document.getElementById('theme').click()");
    assert_readable(&browser, "dark");
    assert_accessible(&browser, axe.as_deref());
    assert_fits(&browser, &[320, 360, 720, 1020, 1440]);
    assert_eq!(announced(&browser), "", "figures are not announced");
    assert_no_complaints(&browser);

    // A peer goes, events wait for it, it comes back.
    drop((audit, at_jfk));
    jfk.terminate();
    shown("a link that is down", || drawn(&browser) == "jfk down, lga up").await;
    shown("the news", || announced(&browser).contains("Link to jfk went down")).await;
    assert!(!announced(&browser).contains("lga"), "{}", announced(&browser));
    shown("events that wait", || number(&cell(&browser, "jfk", "Waiting events")) > 5.0).await;
    let label = browser.text("return document.querySelector('[data-peer=jfk]').textContent");
    assert!(label.contains(" waiting"), "{label}");
    assert_accessible(&browser, axe.as_deref());
    jfk.restart();
    shown("the link again", || drawn(&browser) == "jfk up, lga up").await;
    shown("the good news", || announced(&browser).contains("Link to jfk is up")).await;
    shown("nothing waiting", || number(&cell(&browser, "jfk", "Waiting events")) < 5.0).await;
    loads.iter().for_each(JoinHandle::abort);
    assert_asks_nobody_else(&browser, &ewr);
    assert_no_complaints(&browser);
}

/// Points move along links, but not where the system asks for less motion.
fn assert_still_for_those_who_ask(browser: &Browser) {
    let moving = "return getComputedStyle(document.querySelector('.flow[data-pace=\"1\"], .flow[data-pace=\"2\"]')).animationName";
    assert_eq!(browser.text(moving), "flow");
    let media = |value: &str| json!({ "features": [{ "name": "prefers-reduced-motion", "value": value }] });
    browser.devtools("Emulation.setEmulatedMedia", media("reduce"));
    assert_eq!(browser.text(moving), "none");
    let arrows =
        "return String(document.querySelectorAll('.link .head[data-pace]:not([data-pace=\"0\"])').length)";
    assert_ne!(browser.text(arrows), "0", "directions are seen without motion");
    browser.devtools("Emulation.setEmulatedMedia", media(""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_says_what_does_not_answer_and_recovers_by_itself() {
    const TEST: &str = "the_page_says_what_does_not_answer_and_recovers_by_itself";
    let Some(browser) = Browser::start(TEST) else { return };
    let world = World::new();
    let mut broker = world.broker("solo").admin(free_address()).start();
    open(&browser, &broker);
    shown("the name", || browser.text("return document.title") == "solo · Fanal").await;
    assert!(is_visible(&browser, "no-peers") && !is_visible(&browser, "outage"));
    let problems = || browser.text("return document.getElementById('problems').textContent");
    let requests = |of: &str| {
        let script = format!(
            "return performance.getEntriesByType('resource').filter(({{ name }}) => name.endsWith('{of}')).length"
        );
        browser.run(&script).as_u64().unwrap()
    };

    // One source that fails, and one that never answers, are named; the others go on.
    browser.run(
        "window.before = window.fetch; window.out = 0;
         window.fetch = (path, ...more) => {
             if (path === '/metrics') return Promise.resolve(new Response('', { status: 500 }));
             if (path === '/api/v1/mailboxes') { window.out += 1; return new Promise(() => {}); }
             return window.before(path, ...more);
         }",
    );
    shown("the failing one", || problems().contains("/metrics: HTTP 500")).await;
    shown("the silent one", || problems().contains("/api/v1/mailboxes: waiting for an answer")).await;
    assert!(!is_visible(&browser, "outage"));
    let asked = requests("/status");
    shown("the others", || requests("/status") > asked).await;
    assert_eq!(browser.run("return window.out"), 1, "one request of a kind at a time");
    assert_no_complaints(&browser);
    browser.run("location.reload()");
    shown("the page anew", || requests("/metrics") > 1 && !is_visible(&browser, "problems")).await;

    // Nothing is asked while nobody looks.
    let hide = |is_hidden: bool| {
        browser.run(&format!(
            "Object.defineProperty(document, 'hidden', {{ configurable: true, value: {is_hidden} }});
             document.dispatchEvent(new Event('visibilitychange'))"
        ));
    };
    hide(true);
    let (hidden, asked) = (Instant::now(), requests("/status"));
    until("two seconds in which at most one answer comes, to what was on its way", || {
        let now = requests("/status");
        assert!(now <= asked + 1, "{now} requests, {asked} before it was hidden");
        (hidden.elapsed() > Duration::from_secs(2)).then_some(())
    })
    .await;
    hide(false);
    shown("requests again", || requests("/status") > asked + 1).await;
    assert_no_complaints(&browser);

    // The broker goes and comes back.
    broker.kill();
    shown("the outage", || is_visible(&browser, "outage")).await;
    shown("the news", || announced(&browser).contains("not reachable")).await;
    let banner = browser.text("return document.getElementById('outage').textContent");
    assert!(banner.contains("Not reachable since "), "{banner}");
    assert_readable_outage(&browser);
    broker.restart();
    shown("the end of the outage", || !is_visible(&browser, "outage")).await;
    shown("the good news", || announced(&browser).contains("answers again")).await;
    shown("fresh figures", || {
        browser.text("return document.getElementById('fresh').textContent").starts_with("Updated")
    })
    .await;
    let console = browser.console();
    assert!(console.iter().all(|line| line.contains("net::ERR_")), "{console:#?}");
    assert_asks_nobody_else(&browser, &broker);
}

fn assert_readable_outage(browser: &Browser) {
    let found = browser.run(include_str!("page/contrast.js"));
    assert_eq!(found["low"], Value::Array(Vec::new()), "contrast too low during an outage");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_modules_of_the_page_reckon_right() {
    let Some(browser) = Browser::start("the_modules_of_the_page_reckon_right") else { return };
    let world = World::new();
    let broker = world.broker("solo").start();
    open(&browser, &broker);
    let found = browser.run(include_str!("page/units.js"));
    assert_eq!(found["failed"], Value::Array(Vec::new()));
    assert!(found["checked"].as_u64().unwrap() > 450, "{found}");

    // The system's choice of theme, until there is one of one's own, which stays.
    let theme = || browser.text("return document.documentElement.dataset.theme");
    let prefers = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    assert_eq!(theme(), "light");
    browser.devtools("Emulation.setEmulatedMedia", prefers);
    shown("the system's theme", || theme() == "dark").await;
    browser.run("document.getElementById('theme').click(); location.reload()");
    shown("one's own theme", || theme() == "light").await;

    // A crowd is drawn within bounds, by whatever names and states it comes.
    browser.run(&format!("const markup = {}; {}", json!(MARKUP), include_str!("page/crowd.js")));
    shown("a crowd", || drawn(&browser).matches(',').count() == 59).await;
    shown("many clients", || {
        browser.text("return document.querySelector('.clients').textContent").contains("6,666 subscribers")
    })
    .await;
    let counts = browser.run(
        "return ['.dot', '#peers tbody tr', '#sessions tbody tr', 'img'].map((what) => document.querySelectorAll(what).length)",
    );
    assert_eq!(counts, json!([36 + 36, 70, 100, 1]));
    let page = browser.text("return document.body.textContent");
    for words in ["10 more peers are in the table", "9,900 more: fanal sessions", "quarantined", MARKUP] {
        assert!(page.contains(words), "{words}");
    }
    assert_fits(&browser, &[320, 1440]);
    assert_no_complaints(&browser);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_refused_is_told_from_one_that_cannot_be_reached() {
    let world = World::new();
    let stranger = world.broker("stranger").ca(world.path("another-ca")).start();
    let solo =
        world.broker("solo").peer("stranger", stranger.listen()).peer("nobody", free_address()).start();
    let peers = until("an answer and none", || {
        let (_, text) = get(solo.admin(), "/api/v1/peers");
        let page: Value = serde_json::from_str(&text).unwrap();
        let has_problem = |peer: &Value| peer["problem"].is_string();
        page["peers"].as_array().filter(|peers| peers.len() == 2 && peers.iter().all(has_problem)).cloned()
    })
    .await;
    for peer in peers {
        let is_refused = peer["name"] == "stranger";
        assert_eq!(
            (peer["state"].as_str(), peer["refused"].as_bool()),
            (Some("dialling"), Some(is_refused)),
            "{peer}"
        );
    }
}
