//! How a process of Warren ends: what tells it to, and in which order its doors close.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::doors::Doors;
use crate::gateway::Gateway;
use crate::time;

/// A second word that comes so soon is an echo of the first one.
const ECHO: Duration = Duration::from_secs(1);

/// What a process is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// End; nobody takes over.
    End,
    /// Another process accepts from the same sockets now.
    HandOver,
}

/// Ends the data path: readiness fails, requests in flight end, then it is over.
pub(super) struct Ending {
    pub(super) gateway: Arc<Gateway>,
    pub(super) doors: Arc<Doors>,
    /// The most that requests in flight may take.
    pub(super) cap: Duration,
    /// Says true when the supervisor is gone.
    pub(super) orphaned: watch::Receiver<bool>,
}

#[async_trait]
impl ShutdownSignalWatch for Ending {
    async fn recv(&self) -> ShutdownSignal {
        let mut signals = match Signals::new(self.orphaned.clone()) {
            Ok(signals) => signals,
            Err(error) => {
                error!(%error, "signals cannot be received; end this process with SIGKILL");
                return std::future::pending().await;
            }
        };
        let told = signals.next().await;
        let in_flight = &self.gateway.in_flight;
        in_flight.drain();
        info!(?told, in_flight = in_flight.count(), "ending: requests in flight may finish");
        let done = async {
            match told {
                // Accepting goes on: whoever connects meanwhile is served.
                Told::End => in_flight.none().await,
                Told::HandOver => {
                    self.doors.stop_accepting();
                    self.doors.emptied(in_flight.none()).await;
                }
            }
        };
        tokio::select! {
            () = done => info!("no request is in flight"),
            () = tokio::time::sleep(self.cap) => {
                warn!(in_flight = in_flight.count(), "requests in flight are cut off");
            }
            () = signals.again() => warn!("ending at once"),
        }
        self.doors.close().await;
        // The fast one tells the accepting tasks nothing.
        ShutdownSignal::GracefulTerminate
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hand_over: Signal,
    orphaned: watch::Receiver<bool>,
}

impl Signals {
    fn new(orphaned: watch::Receiver<bool>) -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hand_over: signal(SignalKind::user_defined1())?,
            orphaned,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            _ = self.hand_over.recv() => Told::HandOver,
            // Without a supervisor nobody ever says so.
            Ok(_) = self.orphaned.wait_for(|orphaned| *orphaned) => {
                warn!("the supervisor is gone");
                Told::End
            }
        }
    }

    /// Waits for a second word to end. One hand-over more changes nothing.
    async fn again(&mut self) {
        let heard = time::now();
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            // Whoever tells a whole group of processes tells us twice: by itself, and by our
            // supervisor.
            if heard.elapsed() > ECHO {
                return;
            }
        }
    }
}
