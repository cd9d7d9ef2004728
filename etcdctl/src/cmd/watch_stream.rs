//! The watch stream: opens the watches ordered, prints what arrives, resumes after a break.
//!
//! ```text
//! orders ─▶ pending ──created──▶ open by id ──events──▶ print, run the command
//!             ▲                    │ stream broke: again from the next revision
//!             └────────────────────┘
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::watch::execute;
use super::watch_input::WatchCommand;
use crate::failure::Failure;
use crate::output;
use crate::print::{Reply, WatchReply};
use crate::session::{self, Session};

/// Pause before a broken stream is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(100);
/// Requests that may wait for the connection.
const REQUESTS_MAX: usize = 64;
/// The watch id of an answer that is meant for all watches of the stream.
const EVERY_WATCH: i64 = -1;

const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const FUTURE: &str = "etcdserver: mvcc: required revision is a future revision";

/// What a user may ask of the stream.
pub(super) enum Order {
    /// Open a watch.
    Watch(WatchCommand),
    /// Tell how far the watches are.
    Progress,
}

/// All watches of the process.
pub(super) struct WatchStream {
    session: Session,
    orders: mpsc::Receiver<Order>,
    /// Asked for, not yet announced by the server; announced in this order.
    pending: VecDeque<WatchCommand>,
    /// Announced: id and watch, whose start is where it must resume.
    open: Vec<(i64, WatchCommand)>,
    canceled: usize,
}

/// A live stream.
struct Link {
    requests: mpsc::Sender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

impl Link {
    async fn send(&self, request: RequestUnion) {
        // A closed stream shows itself at the next answer.
        drop(self.requests.send(pb::WatchRequest { request_union: Some(request) }).await);
    }
}

impl WatchStream {
    /// No watch yet; they come as orders.
    pub(super) fn new(session: Session, orders: mpsc::Receiver<Order>) -> Self {
        WatchStream { session, orders, pending: VecDeque::new(), open: Vec::new(), canceled: 0 }
    }

    /// Serves until the first watch is cancelled.
    ///
    /// # Errors
    /// A command that failed, or an answer that cannot be printed.
    pub(super) async fn run_until_canceled(&mut self) -> Result<(), Failure> {
        while self.canceled == 0 {
            self.serve().await?;
        }
        Ok(())
    }

    /// Serves for ever.
    ///
    /// # Errors
    /// As [`WatchStream::run_until_canceled`].
    pub(super) async fn run(&mut self) -> Result<(), Failure> {
        loop {
            self.serve().await?;
        }
    }

    /// Opens a stream and serves it until it breaks or a watch is cancelled.
    async fn serve(&mut self) -> Result<(), Failure> {
        for (_, command) in self.open.drain(..).rev() {
            self.pending.push_front(command);
        }
        // A server says nothing on a stream before the first watch.
        while self.pending.is_empty() {
            match self.orders.recv().await {
                Some(order) => drop(self.take(order)),
                None => std::future::pending().await,
            }
        }
        match self.connect().await {
            Ok(link) => self.serve_link(link).await,
            Err(status) => self.broken(&status).await,
        }
    }

    async fn connect(&self) -> Result<Link, Status> {
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX + self.pending.len());
        for command in &self.pending {
            let request = RequestUnion::CreateRequest(command.request.clone());
            let request = pb::WatchRequest { request_union: Some(request) };
            requests.try_send(request).expect("the channel has room for all of them");
        }
        let receiver = ReceiverStream::new(receiver);
        let answers = self.session.stream("/etcdserverpb.Watch/Watch", receiver).await?;
        Ok(Link { requests, answers })
    }

    async fn serve_link(&mut self, mut link: Link) -> Result<(), Failure> {
        let canceled_before = self.canceled;
        while self.canceled == canceled_before {
            tokio::select! {
                answer = link.answers.message() => match answer {
                    Ok(Some(answer)) => self.answer(answer).await?,
                    Ok(None) => return self.broken(&Status::unavailable("stream closed")).await,
                    Err(status) => return self.broken(&status).await,
                },
                Some(order) = self.orders.recv() => {
                    let request = self.take(order);
                    link.send(request).await;
                }
            }
        }
        Ok(())
    }

    /// Notes an order and gives the request that carries it out.
    fn take(&mut self, order: Order) -> RequestUnion {
        match order {
            Order::Progress => RequestUnion::ProgressRequest(pb::WatchProgressRequest {}),
            Order::Watch(command) => {
                let request = RequestUnion::CreateRequest(command.request.clone());
                self.pending.push_back(command);
                request
            }
        }
    }

    /// After a break the watches go on; after a refusal they are cancelled.
    async fn broken(&mut self, status: &Status) -> Result<(), Failure> {
        let passing = matches!(status.code(), Code::Unavailable | Code::Internal | Code::Cancelled)
            || std::error::Error::source(status).is_some();
        if passing {
            self.session.disconnect().await;
            tokio::time::sleep(REOPEN_PAUSE).await;
            return Ok(());
        }
        let reply = WatchReply { canceled: true, ..Default::default() };
        let reason = session::failure(status);
        for _ in 0..self.pending.len() + self.open.len() {
            self.print_canceled(&reply, reason.text())?;
        }
        self.pending.clear();
        self.open.clear();
        Ok(())
    }

    async fn answer(&mut self, answer: pb::WatchResponse) -> Result<(), Failure> {
        let id = answer.watch_id;
        if answer.created {
            let Some(mut command) = self.pending.pop_front() else { return Ok(()) };
            if answer.canceled {
                return self.cancel(answer);
            }
            if command.request.start_revision == 0 {
                command.request.start_revision = revision(&answer) + 1;
            }
            self.open.push((id, command));
            return Ok(());
        }
        if answer.canceled {
            self.open.retain(|(open, _)| *open != id);
            return self.cancel(answer);
        }
        let reached = answer
            .events
            .last()
            .and_then(|event| event.kv.as_ref())
            .map_or(revision(&answer), |kv| kv.mod_revision);
        let is_progress = answer.events.is_empty();
        let reply = reply(answer);
        let everyone = id == EVERY_WATCH && is_progress;
        for (open, command) in &mut self.open {
            if *open != id && !everyone {
                continue;
            }
            let start = &mut command.request.start_revision;
            *start = (*start).max(reached + 1);
            if is_progress {
                let line = format!("progress notify: {}\n", reply.header.revision);
                output::write(line.as_bytes())?;
            }
            output::print(self.session.settings().style, &Reply::Watch(&reply))?;
            run_for_each(command, &reply).await?;
        }
        Ok(())
    }

    fn cancel(&mut self, answer: pb::WatchResponse) -> Result<(), Failure> {
        let reason = match (answer.compact_revision, answer.cancel_reason.as_str()) {
            (0, "") => FUTURE.to_owned(),
            (0, reason) => reason.to_owned(),
            _ => COMPACTED.to_owned(),
        };
        self.print_canceled(&reply(answer), &reason)
    }

    fn print_canceled(&mut self, reply: &WatchReply, reason: &str) -> Result<(), Failure> {
        self.canceled += 1;
        output::complain(&format!("watch was canceled ({reason})"));
        output::print(self.session.settings().style, &Reply::Watch(reply))
    }
}

fn revision(answer: &pb::WatchResponse) -> i64 {
    answer.header.as_ref().map_or(0, |header| header.revision)
}

fn reply(answer: pb::WatchResponse) -> WatchReply {
    WatchReply {
        header: answer.header.unwrap_or_default(),
        events: answer.events,
        compact_revision: answer.compact_revision,
        canceled: answer.canceled,
        created: answer.created,
        cancel_reason: answer.cancel_reason,
    }
}

/// Runs the command of the watch once per event, one after the other.
async fn run_for_each(command: &WatchCommand, reply: &WatchReply) -> Result<(), Failure> {
    if command.exec.is_empty() {
        return Ok(());
    }
    for event in &reply.events {
        let kv = event.kv.clone().unwrap_or_default();
        let environment = [
            ("ETCD_WATCH_REVISION", reply.header.revision.to_string()),
            ("ETCD_WATCH_EVENT_TYPE", base::text::quote(event.r#type().as_str_name().as_bytes())),
            ("ETCD_WATCH_KEY", base::text::quote(&kv.key)),
            ("ETCD_WATCH_VALUE", base::text::quote(&kv.value)),
        ];
        let command = command.clone();
        // The connection is served meanwhile.
        let run = tokio::task::spawn_blocking(move || execute(&command, &environment));
        run.await.unwrap_or(Err(Failure::silent(crate::failure::code::ERROR)))?;
    }
    Ok(())
}
