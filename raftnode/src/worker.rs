//! A piece of work that the raft thread does itself or hands to a thread of its own.
//!
//! The raft thread counts the jobs it handed over; while none is out it may work on the value
//! directly. The lock only hands the value over: the last echo may come a moment before the
//! worker lets go.
//! Jobs merge in the mailbox: the worker takes all that has gathered at once. Their number is
//! bounded upstream, by the inbox and by what raft keeps in flight.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use crate::inbox::Inbox;
use crate::machine::spawn;

/// A value that works off jobs.
pub(crate) trait Work: Send + 'static {
    /// What is to be done.
    type Job: Send + 'static;
    /// What came of it.
    type Echo: Send + 'static;

    /// Works off all of `jobs`, in order; `echo` takes each result as soon as it is there, and
    /// of how many jobs it is the result.
    fn work(&mut self, jobs: VecDeque<Self::Job>, echo: &mut dyn FnMut(usize, Self::Echo));
}

struct Mailbox<W: Work> {
    jobs: VecDeque<W::Job>,
    echoes: Vec<W::Echo>,
    /// Jobs the echoes stand for.
    finished: usize,
    closed: bool,
    dead: bool,
}

struct Shared<W: Work> {
    work: Mutex<W>,
    mailbox: Mutex<Mailbox<W>>,
    wake: Condvar,
}

/// The raft thread's end.
pub(crate) struct Worker<W: Work> {
    name: &'static str,
    shared: Arc<Shared<W>>,
    /// Jobs handed over whose echo was not collected yet.
    out: usize,
    thread: Option<JoinHandle<()>>,
}

/// Tells the raft thread when the worker ends, however it ends.
struct Farewell<W: Work> {
    shared: Arc<Shared<W>>,
    inbox: Arc<Inbox>,
}

impl<W: Work> Drop for Farewell<W> {
    fn drop(&mut self) {
        self.shared.mailbox.lock().dead = true;
        self.inbox.nudge();
    }
}

impl<W: Work> Worker<W> {
    /// Starts the thread `name`, which nudges `inbox` whenever it has an echo.
    pub(crate) fn start(name: &'static str, work: W, inbox: Arc<Inbox>) -> io::Result<Self> {
        let mailbox = Mailbox {
            jobs: VecDeque::new(),
            echoes: Vec::new(),
            finished: 0,
            closed: false,
            dead: false,
        };
        let shared = Arc::new(Shared {
            work: Mutex::new(work),
            mailbox: Mutex::new(mailbox),
            wake: Condvar::new(),
        });
        let farewell = Farewell { shared: Arc::clone(&shared), inbox };
        let thread = spawn(name, move || run(&farewell))?;
        Ok(Self { name, shared, out: 0, thread: Some(thread) })
    }

    /// Whether the raft thread may work itself.
    pub(crate) fn is_idle(&self) -> bool {
        self.out == 0
    }

    /// Works on the value on the calling thread.
    pub(crate) fn inline<T>(&mut self, f: impl FnOnce(&mut W) -> T) -> T {
        assert!(self.is_idle(), "{} works on it", self.name);
        f(&mut self.shared.work.lock())
    }

    /// Hands a job over.
    pub(crate) fn send(&mut self, job: W::Job) {
        self.out += 1;
        self.shared.mailbox.lock().jobs.push_back(job);
        self.shared.wake.notify_one();
    }

    /// Takes what came of the jobs.
    ///
    /// # Panics
    /// When the thread has ended: it panicked.
    pub(crate) fn collect(&mut self, into: &mut Vec<W::Echo>) {
        if self.is_idle() {
            return;
        }
        let mut mailbox = self.shared.mailbox.lock();
        assert!(!mailbox.dead, "thread {} has ended", self.name);
        into.append(&mut mailbox.echoes);
        self.out -= std::mem::take(&mut mailbox.finished);
    }

    /// Lets the thread finish its jobs and waits for it; takes the last echoes.
    pub(crate) fn finish(&mut self, into: &mut Vec<W::Echo>) {
        self.shared.mailbox.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok(), "thread {} has panicked", self.name);
        }
        into.append(&mut self.shared.mailbox.lock().echoes);
        self.out = 0;
    }
}

fn run<W: Work>(farewell: &Farewell<W>) {
    let Farewell { shared, inbox } = farewell;
    loop {
        let mut mailbox = shared.mailbox.lock();
        while mailbox.jobs.is_empty() {
            if mailbox.closed {
                return;
            }
            shared.wake.wait(&mut mailbox);
        }
        let jobs = std::mem::take(&mut mailbox.jobs);
        drop(mailbox);
        shared.work.lock().work(jobs, &mut |finished, echo| {
            let mut mailbox = shared.mailbox.lock();
            mailbox.echoes.push(echo);
            mailbox.finished += finished;
            drop(mailbox);
            inbox.nudge();
        });
    }
}
