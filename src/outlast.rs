//! What a worker and its supervisor say to each other, over a socket that is the worker's standard
//! input, so that a submit that waits for its answer outlasts the worker that has read it.
//!
//! The worker says `Hello` once, and with it gives the reading end of a pipe; then `Keep` for each
//! submit, with its connection. That a submit is done it writes into the pipe, as the number that
//! `Keep` had: unlike the socket, the pipe always has room for that, so that it is said before an
//! answer goes out, without waiting. The supervisor says `Take`, with a connection and what was
//! read from it. When either ends, the other one reads the end. It is their standard input since
//! that is the one descriptor that can be inherited without `unsafe`.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::cmsg_space;
use rustix::net::sockopt::{set_socket_send_buffer_size, socket_type};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SocketFlags,
    SocketType, recvmsg, socketpair,
};

/// The largest request, head and body, that is kept: it is one message, and two of them are to fit
/// into the socket's buffer, which the kernel bounds (`net.core.wmem_max`, 208 KiB by default).
pub const REQUEST_MAX: usize = 128 << 10;

/// Submits of one worker that are kept at the same time, and their bytes.
pub const SUBMITS_MAX: usize = 1024;
/// See [`SUBMITS_MAX`].
pub const BYTES_MAX: usize = 16 << 20;

/// What the pipe must hold at least: each number takes eight bytes, and beside the submits that are
/// kept there may be some hundreds of which the supervisor has not read yet that they were.
pub const PIPE_MIN: usize = 4 * 8 * SUBMITS_MAX;

/// Asked of the kernel for the socket's buffer.
const BUFFER: usize = 1 << 20;

const HELLO: u8 = b'H';
const KEEP: u8 = b'K';
const TAKE: u8 = b'T';

/// Kind and number.
const HEAD: usize = 9;

/// What was said.
#[derive(Debug)]
pub enum Word {
    /// A worker can take submits, and will write into the pipe which of its own are done.
    Hello(OwnedFd),
    /// A submit begins to wait for its answer.
    Keep {
        /// Its number in this worker.
        id: u64,
        /// The connection that it came over.
        client: OwnedFd,
        /// Its head and body.
        request: Vec<u8>,
    },
    /// A submit that another worker has read and not answered.
    Take {
        /// The connection that it came over.
        client: OwnedFd,
        /// Its head and body.
        request: Vec<u8>,
    },
    /// What this version does not know, or what lost its descriptor on the way because too many
    /// files are open here.
    Unknown,
}

/// What there is to hear.
#[derive(Debug)]
pub enum Heard {
    /// A word.
    Word(Word),
    /// Nothing now.
    Nothing,
    /// The other side has ended.
    End,
}

/// The two ends of a new socket: the supervisor's and the worker's.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    for end in [&ours, &theirs] {
        set_socket_send_buffer_size(end, BUFFER)?;
    }
    Ok((ours, theirs))
}

/// This process's end, if its standard input is one.
pub fn of_stdin() -> Option<OwnedFd> {
    let stdin = io::stdin();
    let is_ours = socket_type(stdin.as_fd()).is_ok_and(|kind| kind == SocketType::SEQPACKET);
    is_ours.then(|| stdin.as_fd().try_clone_to_owned().ok()).flatten()
}

/// Says `Hello`, with the end of the pipe to read from.
pub fn hello(line: &impl AsRawFd, done: &OwnedFd) -> io::Result<()> {
    say(line, (HELLO, 0), &[], done.as_raw_fd())
}

/// Says `Keep`. `client` is an open descriptor of this process.
pub fn keep(line: &impl AsRawFd, id: u64, client: RawFd, request: [&[u8]; 2]) -> io::Result<()> {
    say(line, (KEEP, id), &request, client)
}

/// Says `Take`.
pub fn take(line: &impl AsRawFd, client: &OwnedFd, request: &[u8]) -> io::Result<()> {
    say(line, (TAKE, 0), &[request], client.as_raw_fd())
}

/// Never waits: `WouldBlock` if the other side has not read enough.
fn say(
    line: &impl AsRawFd,
    (kind, id): (u8, u64),
    request: &[&[u8]],
    with: RawFd,
) -> io::Result<()> {
    let mut head = [kind; HEAD];
    head[1..].copy_from_slice(&id.to_le_bytes());
    let mut parts = vec![IoSlice::new(&head)];
    parts.extend(request.iter().map(|part| IoSlice::new(part)));
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let with = [with];
    let rights = [ControlMessage::ScmRights(&with)];
    sendmsg::<()>(line.as_raw_fd(), &parts, &rights, flags, None)?;
    Ok(())
}

/// Room for what is heard.
#[derive(Debug)]
pub struct Ear(Box<[u8]>);

impl Default for Ear {
    fn default() -> Self {
        Self(vec![0; HEAD + REQUEST_MAX].into_boxed_slice())
    }
}

impl Ear {
    /// Hears the next word, and waits for it.
    pub fn wait(&mut self, line: impl AsFd) -> io::Result<Heard> {
        self.hear(line, RecvFlags::empty())
    }

    /// Hears the next word if it is there.
    pub fn look(&mut self, line: impl AsFd) -> io::Result<Heard> {
        self.hear(line, RecvFlags::DONTWAIT)
    }

    fn hear(&mut self, line: impl AsFd, flags: RecvFlags) -> io::Result<Heard> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let told = loop {
            let mut parts = [IoSliceMut::new(&mut self.0)];
            match recvmsg(line.as_fd(), &mut parts, &mut rights, flags | RecvFlags::CMSG_CLOEXEC) {
                Ok(told) => break told,
                Err(error) => match io::Error::from(error).kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => return Ok(Heard::Nothing),
                    // The other side ended with words of ours unread; its own are still to be heard.
                    ErrorKind::ConnectionReset => {}
                    _ => return Err(error.into()),
                },
            }
        };
        if told.bytes == 0 {
            return Ok(Heard::End);
        }
        let with = rights.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        });
        let whole = !told.flags.contains(ReturnFlags::TRUNC);
        let word = with.filter(|_| whole).map(|with| word(&self.0[..told.bytes], with));
        Ok(Heard::Word(word.unwrap_or(Word::Unknown)))
    }
}

fn word(message: &[u8], with: OwnedFd) -> Word {
    let Some((head, request)) = message.split_first_chunk::<HEAD>() else { return Word::Unknown };
    let [kind, id @ ..] = *head;
    match kind {
        HELLO => Word::Hello(with),
        KEEP => Word::Keep { id: u64::from_le_bytes(id), client: with, request: request.to_vec() },
        TAKE => Word::Take { client: with, request: request.to_vec() },
        _ => Word::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    fn connection() -> (TcpStream, OwnedFd) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it accepts");
        (client, listener.accept().expect("one waits").0.into())
    }

    #[test]
    fn a_connection_and_its_request_arrive() {
        let (supervisor, worker) = pair().expect("a pair");
        let mut ear = Ear::default();
        assert!(matches!(ear.look(&supervisor), Ok(Heard::Nothing)));
        let (mut client, server) = connection();
        keep(&worker, 7, server.as_raw_fd(), [b"head ", b"body"]).expect("room");
        drop((server, worker));
        let heard = ear.look(&supervisor).expect("heard");
        let Heard::Word(Word::Keep { id: 7, client: kept, request }) = heard else {
            panic!("{heard:?}")
        };
        assert_eq!(request, b"head body");
        TcpStream::from(kept).write_all(b"answer").expect("it is still open");
        let mut text = String::new();
        client.read_to_string(&mut text).expect("closed after it");
        assert_eq!(text, "answer");
        assert!(matches!(ear.look(&supervisor), Ok(Heard::End)));
    }

    #[test]
    fn what_is_too_long_or_unknown_harms_nothing() {
        let (supervisor, worker) = pair().expect("a pair");
        let (_client, server) = connection();
        let long = vec![0; REQUEST_MAX + 1];
        take(&supervisor, &server, &long).expect("it fits into the socket");
        say(&supervisor, (b'?', 0), &[], server.as_raw_fd()).expect("room");
        take(&supervisor, &server, &long[1..]).expect("room");
        let mut ear = Ear::default();
        for _ in 0..2 {
            assert!(matches!(ear.look(&worker), Ok(Heard::Word(Word::Unknown))));
        }
        let heard = ear.look(&worker).expect("heard");
        assert!(matches!(heard, Heard::Word(Word::Take { request, .. }) if request == long[1..]));
    }

    #[test]
    fn words_of_one_who_ended_with_unread_ones_are_heard() {
        let (supervisor, worker) = pair().expect("a pair");
        let (_client, server) = connection();
        take(&supervisor, &server, b"never read").expect("room");
        keep(&worker, 1, server.as_raw_fd(), [b"a", b""]).expect("room");
        drop(worker);
        let mut ear = Ear::default();
        let heard = ear.look(&supervisor).expect("heard");
        assert!(matches!(heard, Heard::Word(Word::Keep { id: 1, .. })), "{heard:?}");
        assert!(matches!(ear.look(&supervisor), Ok(Heard::End)));
    }
}
