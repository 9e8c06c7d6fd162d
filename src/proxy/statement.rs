//! Reading a statement: its body, and what its headers say of it for rules and history.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use pingora_proxy::Session;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The body of a submit.
#[derive(Debug)]
pub struct Statement {
    /// What was read into memory.
    pub text: Bytes,
    /// Whether that is all of it. A longer one passes on unseen by rules.
    pub whole: bool,
    /// The room that it takes, given back with it.
    _room: Option<OwnedSemaphorePermit>,
}

impl Statement {
    /// Reads at most `limit` bytes, and the chunk that passes it; `None`: all statements together
    /// leave no room for it.
    pub async fn read(
        session: &mut Session,
        limit: usize,
        room: &Arc<Semaphore>,
    ) -> pingora::Result<Option<Self>> {
        if session.get_header(http::header::EXPECT).is_some() {
            session.as_downstream_mut().write_continue_response().await?;
        }
        let mut text = BytesMut::new();
        let mut taken: Option<OwnedSemaphorePermit> = None;
        while let Some(chunk) = session.as_downstream_mut().read_request_body().await? {
            let bytes = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let Ok(permit) = room.clone().try_acquire_many_owned(bytes) else { return Ok(None) };
            // One for all: chunks may be as short as a byte.
            match &mut taken {
                Some(taken) => taken.merge(permit),
                None => taken = Some(permit),
            }
            text.extend_from_slice(&chunk);
            if text.len() > limit {
                return Ok(Some(Self { text: exact(text), whole: false, _room: taken }));
            }
        }
        Ok(Some(Self { text: exact(text), whole: true, _room: taken }))
    }
}

/// Without the room that a text which grew has left; it may wait for long.
fn exact(text: BytesMut) -> Bytes {
    if text.capacity() > text.len() + text.len() / 8 {
        return Bytes::copy_from_slice(&text);
    }
    text.freeze()
}

/// At most `limit` bytes of a statement as text, cut where a character ends.
pub fn beginning(statement: &[u8], limit: usize) -> String {
    let cut = &statement[..statement.len().min(limit)];
    let text = String::from_utf8_lossy(cut);
    if cut.len() == statement.len() {
        return text.into_owned();
    }
    text.trim_end_matches(char::REPLACEMENT_CHARACTER).to_owned()
}

/// A header as text, if it is text.
pub fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}
