//! What Entra answers.

use fabric_job_operator::entra::TokenError;

use crate::fabric::check_line;
use crate::memory::{Answer, SECRET, exchange, now};

/// Two bytes of status, then the body: a token that can be used, or a trouble in clean words
/// that never repeats the secret.
pub fn token_answer(input: &[u8]) {
    let Some(([high, low], body)) = input.split_first_chunk::<2>() else {
        return;
    };
    let status = 100 + u16::from_be_bytes([*high, *low]) % 500;
    let result = exchange(Answer::new(status, body).header("retry-after", b"30"));
    match result {
        Ok(token) => {
            assert!((200..300).contains(&status), "a token came with {status}");
            assert!(token.expires_at() > now(), "a token that has expired");
        }
        Err(error) => {
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains(SECRET), "the secret is shown: {shown}");
            match &error {
                TokenError::Refused {
                    code,
                    message,
                    advice,
                    http_status,
                    correlation_id,
                } => {
                    assert!((400..500).contains(&status), "{status} refuses nothing");
                    assert_eq!(*http_status, Some(status));
                    check(code, message, correlation_id.as_deref());
                    check_line("advice", advice, 1024);
                }
                TokenError::Throttled {
                    code,
                    message,
                    correlation_id,
                    ..
                }
                | TokenError::Unavailable {
                    code,
                    message,
                    correlation_id,
                    ..
                } => check(code, message, correlation_id.as_deref()),
            }
        }
    }
}

fn check(code: &str, message: &str, correlation_id: Option<&str>) {
    assert!(!code.is_empty(), "a trouble without a code");
    check_line("code", code, 128);
    check_line("message", message, 256);
    if let Some(id) = correlation_id {
        check_line("correlation id", id, 128);
    }
}
