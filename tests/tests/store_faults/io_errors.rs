//! Input and output errors: nothing is acked any more, and all that was acked is there afterwards.

use std::io::{Read, Write};
use std::net::TcpStream;

use fanal_forgetful::{Loss, Operation};
use fanal_tests::broker::World;
use fanal_tests::ground::Ground;
use fanal_tests::http;
use fanal_tests::raw::Raw;
use fanal_tests::subscriber::next;
use fanal_tests::wait::{BOUND, until, within};

use super::{detached, drain, numbered, small};

const EVENTS: u64 = 20;

/// A question that is asked up to its last line; the broker answers once that is sent, by what is
/// so then.
struct Asked(TcpStream);

impl Asked {
    fn readyz(address: std::net::SocketAddr) -> Asked {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        let head = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        Asked(stream)
    }

    fn answer(mut self) -> String {
        self.0.write_all(b"\r\n").unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// Publishes, lets one operation on the log fail, and looks at everything that follows. Whether the
/// event whose append failed is in the log is for `kept` to say.
async fn fail(test: &str, operation: Operation, kept: bool) {
    let Some(mut ground) = Ground::new(test) else { return };
    let world = World::new();
    let mut broker = small(&world, &ground.path("ewr")).start();
    let client = broker.client().await;
    detached(&client, "orders").await;
    let mut raw = Raw::attach(&broker).await;
    let mut publisher = raw.publisher(1, None).await.unwrap();
    for number in 1..=EVENTS {
        publisher.publish(number, "t/a", format!("x{number} ").as_bytes()).await;
        assert_eq!(raw.receipts(1).await, [(number, 200)]);
    }
    assert_eq!(http::get(broker.admin(), "/readyz").0, 200);

    let asked = Asked::readyz(broker.admin());
    ground.disk.fail_once(operation, ".seg");
    let failing = EVENTS + 1;
    publisher.publish(failing, "t/a", format!("x{failing} ").as_bytes()).await;
    assert_eq!(raw.receipts(1).await, [(failing, 503)]);
    assert_eq!(ground.disk.faults_met(), 1);
    // The disk would take the next write; the store does not.
    publisher.publish(failing + 1, "t/a", b"late ").await;
    let answer = asked.answer();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("Input/output error"), "{answer}");
    until("the broker's end", || broker.process.has_ended().then_some(())).await;
    let stderr = broker.process.stderr.so_far().join("\n");
    assert_eq!(broker.process.wait().code(), Some(1), "{stderr}");
    let last = stderr.lines().last().unwrap();
    let names_it = last.contains(&*ground.path("ewr/store").to_string_lossy()) && last.contains(".seg");
    assert!(names_it && last.contains("check the disk"), "{last}");

    // Only the process has ended: what was not flushed still reads as written.
    broker.restart();
    let expected = numbered(EVENTS as usize + usize::from(kept));
    assert_eq!(drain(&broker, "orders", false).await, expected);
    // What a start has shown is on the disk.
    broker.kill();
    ground.disk.cut();
    ground.lose(Loss::Cut);
    broker.restart();
    let mut again = drain(&broker, "orders", true).await;
    again.retain(|word| word != super::END);
    assert_eq!(again, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_write_nothing_is_acked_and_a_restart_has_all_that_was() {
    let test = "after_a_failed_write_nothing_is_acked_and_a_restart_has_all_that_was";
    fail(test, Operation::Write, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_flush_nothing_is_acked_and_a_restart_has_all_that_was() {
    let test = "after_a_failed_flush_nothing_is_acked_and_a_restart_has_all_that_was";
    fail(test, Operation::Flush, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_cannot_be_read_now_waits_and_is_delivered_later() {
    let Some(ground) = Ground::new("an_event_that_cannot_be_read_now_waits_and_is_delivered_later") else {
        return;
    };
    let world = World::new();
    let mut broker = small(&world, &ground.path("ewr")).start();
    let client = broker.client().await;
    detached(&client, "orders").await;
    for word in numbered(5) {
        within("a receipt", client.publish("t/a").payload(format!("{word} "))).await.unwrap();
    }
    broker.crash(); // nothing of it is in memory any more
    let mut live = within("a receipt", broker.client().await.subscribe("t/#")).await.unwrap();
    let client = broker.client().await;
    ground.disk.fail_reads(".seg", 0..u64::MAX);
    let mut orders = within("a receipt", client.subscribe("t/#").durable("orders")).await.unwrap();
    until("a read that failed", || (ground.disk.faults_met() > 0).then_some(())).await;
    // Others go on: publishing, and what is in memory.
    let other = broker.client().await;
    within("a receipt", other.publish("t/b").payload("x6 ")).await.unwrap();
    assert_eq!(&next(&mut live).await.payload()[..], b"x6 ");
    assert_eq!(http::get(broker.admin(), "/readyz").0, 200);
    ground.disk.mend();
    let mut seen = Vec::new();
    for _ in 0..6 {
        let delivery = next(&mut orders).await;
        seen.push(String::from_utf8_lossy(&delivery.payload()).trim().to_owned());
        delivery.ack();
    }
    assert_eq!(seen, numbered(6));
    within("confirmed acks", orders.flush_acks()).await.unwrap();
}
