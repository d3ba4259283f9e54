//! Answers that no web server means to give: headers without end, informational answers, and one
//! byte after the other. Each ends in bounded time, and the next call is none the worse.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fabric_job_operator::outbound::client::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{interval, timeout};

use crate::{Bench, PATIENCE, clients, now, outcome};

/// For a whole call: long enough for all that is answered at once.
const DEADLINE: Duration = Duration::from_secs(1);

/// What a request is answered with.
#[derive(Clone)]
enum Speech {
    /// This, whole.
    Says(Vec<u8>),
    /// This first; then that again and again, as fast as the client takes it.
    Repeats(Vec<u8>, Vec<u8>),
    /// This first; then that again and again, each after a pause far below the deadline.
    Trickles(Vec<u8>, Vec<u8>),
}

impl Speech {
    fn says(text: impl Into<String>) -> Self {
        Self::Says(text.into().into_bytes())
    }

    fn repeats(first: &str, then: &str) -> Self {
        Self::Repeats(first.into(), then.into())
    }

    fn trickles(first: &str, then: &str) -> Self {
        Self::Trickles(first.into(), then.into())
    }
}

/// A server that answers every request with the same speech.
async fn server(speech: Arc<Mutex<Speech>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&speech)));
        }
    });
    address
}

async fn serve(mut stream: TcpStream, speech: Arc<Mutex<Speech>>) {
    // The clients send a head and no body, in one piece.
    while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
        let speech = speech.lock().unwrap().clone();
        let said = say(&mut stream, speech).await;
        if said.is_err() {
            return;
        }
    }
}

/// Fails when the client has gone: these servers go on as long as somebody listens.
async fn say(stream: &mut TcpStream, speech: Speech) -> std::io::Result<()> {
    match speech {
        Speech::Says(bytes) => stream.write_all(&bytes).await,
        Speech::Repeats(first, then) => {
            stream.write_all(&first).await?;
            let many = then.repeat(1 + 4096 / then.len());
            loop {
                stream.write_all(&many).await?;
            }
        }
        Speech::Trickles(first, then) => {
            stream.write_all(&first).await?;
            let mut pauses = interval(DEADLINE / 20);
            for byte in then.iter().cycle() {
                pauses.tick().await;
                stream.write_all(&[*byte]).await?;
            }
            Ok(())
        }
    }
}

/// What a cancel request and a look come to; they end, and the next look is answered as ever.
async fn asked(bench: &Bench, speech: Speech) -> [(String, String); 2] {
    let speech = Arc::new(Mutex::new(speech));
    let settings = Settings {
        allow_loopback_http: true,
        ..Settings::default()
    };
    let url = format!("http://{}", server(Arc::clone(&speech)).await);
    let (fabric, _) = clients(&url, &settings);
    let fabric = fabric.with_deadline(DEADLINE);
    let token = bench.token().await;
    let both = async {
        let cancel = fabric.cancel(&bench.job, &token, now()).await;
        (cancel, fabric.look(&bench.job, &token, now()).await)
    };
    let (cancel, look) = timeout(PATIENCE, both).await.expect("each call ends");
    *speech.lock().unwrap() = Speech::says(running(bench));
    let healed = fabric.look(&bench.job, &token, now()).await;
    assert_eq!(outcome(&healed), ("seen", "InProgress"));
    [cancel, look].map(|observed| {
        let (name, code) = outcome(&observed);
        (name.to_owned(), code.to_owned())
    })
}

fn running(bench: &Bench) -> String {
    let job = format!(
        r#"{{"id":"{}","status":"InProgress"}}"#,
        bench.job.job_instance_id
    );
    let length = job.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{job}")
}

/// As [`asked`], with the two outcomes that are expected.
async fn comes_to(bench: &Bench, case: &str, speech: Speech, cancel: [&str; 2], look: [&str; 2]) {
    let expected = [cancel, look].map(|[name, code]| (name.to_owned(), code.to_owned()));
    assert_eq!(asked(bench, speech).await, expected, "{case}");
}

const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n";
const LOST: [[&str; 2]; 2] = [
    ["unknown", "ConnectionClosed"],
    ["inconclusive", "ConnectionClosed"],
];
const LATE: [[&str; 2]; 2] = [["unknown", "Timeout"], ["inconclusive", "Timeout"]];

#[tokio::test]
async fn headers_without_number_or_length_are_no_answer() {
    let bench = Bench::http().await;
    let with = |headers: String| Speech::says(format!("{ACCEPTED}{headers}\r\n"));
    let a_million = 1_000_000;
    let [cancel, look] = LOST;
    for (case, speech) in [
        ("a hundred and one headers", with("X: y\r\n".repeat(100))),
        ("a million headers", with("X: y\r\n".repeat(a_million))),
        (
            "a header of a million bytes",
            with(format!("X: {}\r\n", "y".repeat(a_million))),
        ),
        ("headers without end", Speech::repeats(ACCEPTED, "X: y\r\n")),
        (
            "a header without end",
            Speech::repeats("HTTP/1.1 202 Accepted\r\nX: ", "y"),
        ),
        (
            "a status line without end",
            Speech::repeats("HTTP/1.1 202 ", "y"),
        ),
    ] {
        comes_to(&bench, case, speech, cancel, look).await;
    }
    let fine = with("X: y\r\n".repeat(98));
    let [cancel, _] = asked(&bench, fine).await;
    assert_eq!(cancel.0, "accepted", "99 headers are still an answer");
}

#[tokio::test]
async fn informational_answers_are_passed_over_until_the_deadline() {
    const HINT: &str = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let bench = Bench::http().await;
    let hundred = HINT.repeat(100) + "HTTP/1.1 100 Continue\r\n\r\n";
    let accepted = Speech::says(format!("{hundred}{ACCEPTED}\r\n"));
    let [cancel, _] = asked(&bench, accepted).await;
    assert_eq!(cancel.0, "accepted");
    let job = Speech::says(hundred + &running(&bench));
    let [_, look] = asked(&bench, job).await;
    assert_eq!(look.0, "seen");

    let [cancel, look] = LATE;
    let endless = Speech::repeats(HINT, HINT);
    comes_to(&bench, "as fast as they are read", endless, cancel, look).await;
    let slow = Speech::trickles(HINT, HINT);
    comes_to(&bench, "byte by byte", slow, cancel, look).await;
}

#[tokio::test]
async fn an_answer_that_comes_byte_by_byte_ends_at_the_deadline_of_the_whole_call() {
    let bench = Bench::http().await;
    let [cancel, look] = LATE;
    let head = Speech::trickles("HTTP/1.1 202 Accepted\r\nX: ", "y");
    comes_to(&bench, "in the head", head, cancel, look).await;
    // A body that is cut off says nothing of the job, but a 202 is Fabric's word.
    let body = |status: &str| {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: 1000000\r\n\r\n");
        Speech::trickles(&head, "{")
    };
    let accepted = ["accepted", ""];
    let strange = ["inconclusive", "Http202"];
    comes_to(
        &bench,
        "after a 202",
        body("202 Accepted"),
        accepted,
        strange,
    )
    .await;
    comes_to(&bench, "after a 200", body("200 OK"), cancel, look).await;
}
