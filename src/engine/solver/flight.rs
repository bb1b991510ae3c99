//! Executions, each shared by everyone in the process who wants its result.
//!
//! An execution is a task of its own. It ends when its op does, or is cancelled when the last one who waits for it has
//! gone; that one waits until it has really ended, so that no command outlives the build that started it.

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Op;
use crate::base::Digest;
use crate::engine::blocking::on_own_thread;
use crate::engine::cancel::{Cancel, Hold};
use crate::engine::event::{Event, EventSink, Stream, Unit};

/// What an op may use while it works.
#[derive(Clone)]
pub struct ExecCtx {
    /// Turned on when nobody wants the result any more.
    pub cancel: Cancel,
    /// Names this run, where the op is run.
    pub run: Option<Digest>,
    pub(super) audience: Audience,
    /// Whether the work began.
    pub(super) started: Arc<AtomicBool>,
}

/// Those who are told about an execution.
pub(super) type Audience = Arc<Mutex<Vec<Listener>>>;

/// One build's view of an execution: its vertex may be another than the one that is executed.
pub(super) struct Listener {
    pub(super) vertex: Digest,
    pub(super) name: String,
    pub(super) inputs: Vec<Digest>,
    pub(super) events: EventSink,
    pub(super) started: Arc<AtomicBool>,
}

impl ExecCtx {
    /// A context that tells `listener`.
    pub(super) fn new(cancel: Cancel, listener: Listener) -> ExecCtx {
        ExecCtx { cancel, run: None, audience: Arc::new(Mutex::new(vec![listener])), started: Arc::default() }
    }

    /// A context for an op that is used outside a solve: nobody is told anything.
    pub fn detached(cancel: Cancel) -> ExecCtx {
        ExecCtx { cancel, run: None, audience: Audience::default(), started: Arc::default() }
    }

    /// Output of the op's command.
    pub fn log(&self, stream: Stream, bytes: &[u8]) {
        self.tell(|vertex| Event::Log { vertex, stream, bytes: bytes.to_vec() });
    }

    /// How far the part `id` is.
    pub fn progress(&self, id: &str, current: u64, total: Option<u64>, unit: Unit) {
        self.tell(|vertex| Event::Progress { vertex, id: id.to_owned(), current, total, unit });
    }

    /// Something that is no error.
    pub fn warn(&self, message: &str) {
        self.tell(|vertex| Event::Warning { vertex, message: message.to_owned() });
    }

    /// Takes the events of vertices that are made on the way.
    pub fn events(&self) -> EventSink {
        let audience = self.audience.clone();
        Arc::new(move |event: Event| {
            for listener in audience.lock().expect("no listener panics").iter() {
                (listener.events)(event.clone());
            }
        })
    }

    /// Tells everyone who was not told yet that the work began.
    pub(super) fn started(&self) {
        self.started.store(true, Ordering::Relaxed);
        for listener in self.audience.lock().expect("no listener panics").iter() {
            listener.start();
        }
    }

    fn tell(&self, event: impl Fn(Digest) -> Event) {
        for listener in self.audience.lock().expect("no listener panics").iter() {
            (listener.events)(event(listener.vertex));
        }
    }
}

impl Listener {
    pub(super) fn start(&self) {
        if !self.started.swap(true, Ordering::Relaxed) {
            (self.events)(Event::Started {
                vertex: self.vertex,
                name: self.name.clone(),
                inputs: self.inputs.clone(),
                at: SystemTime::now(),
            });
        }
    }
}

/// Where an execution begins; its task is where it goes on.
#[derive(Clone, Copy)]
pub(super) enum Begin {
    /// In its task.
    Task,
    /// Where it is asked for, up to where it first waits: for what gets a thread of its own, which is then woken by no task,
    /// and for what nothing else runs beside.
    Here,
}

/// How far an execution comes by itself.
pub(super) enum Under<O: Op> {
    /// It ended.
    Landed(Landing<O>),
    /// What is left of it gets a thread of its own.
    Way(BoxFuture<'static, Landing<O>>),
}

/// How an execution ended.
pub(super) enum Landing<O: Op> {
    /// The op ran.
    Ran(Vec<O::Output>),
    /// Another process had made the result meanwhile.
    Found(Vec<O::Output>),
    /// The op failed. Its turn goes on until this is dropped.
    Failed(Arc<O::Error>, Option<Arc<OwnedSemaphorePermit>>),
    /// Nobody wanted it any more.
    Cancelled,
    /// The op panicked; with its message.
    Panicked(String),
}

impl<O: Op> Clone for Landing<O> {
    fn clone(&self) -> Landing<O> {
        match self {
            Landing::Ran(outputs) => Landing::Ran(outputs.clone()),
            Landing::Found(outputs) => Landing::Found(outputs.clone()),
            Landing::Failed(error, turn) => Landing::Failed(error.clone(), turn.clone()),
            Landing::Cancelled => Landing::Cancelled,
            Landing::Panicked(message) => Landing::Panicked(message.clone()),
        }
    }
}

/// A running execution.
struct Flight<O: Op> {
    ctx: ExecCtx,
    landing: watch::Sender<Option<Landing<O>>>,
    /// Changed under the map's lock only.
    n_waiting: AtomicUsize,
}

/// All running executions of a process, by key.
pub(super) struct Flights<O: Op> {
    running: Mutex<HashMap<Digest, Arc<Flight<O>>>>,
}

/// How one came to an execution.
enum Boarded<O: Op> {
    /// Waits for its result; `first` if it was started for this one.
    Seat { flight: Arc<Flight<O>>, first: bool },
    /// It is being cancelled and cannot be joined.
    Ending(Arc<Flight<O>>),
}

/// One who waits for an execution; leaving is noticed also when the waiting future is dropped.
struct Seat<'a, O: Op> {
    flights: &'a Flights<O>,
    flight: Arc<Flight<O>>,
    taken: bool,
}

impl<O: Op> Flights<O> {
    pub(super) fn new() -> Flights<O> {
        Flights { running: Mutex::new(HashMap::new()) }
    }

    /// The result of the execution `key`: of the one that runs, else of `start`, which is run as a task.
    ///
    /// The answer says [`Landing::Ran`] only to the one whose `start` it was. With `cancel` on, `listener`'s interest
    /// ends; the call then returns at once if others wait too, else when the execution has ended. With `hold` on it ends
    /// if the work has not begun.
    pub(super) async fn join<F>(
        self: &Arc<Self>,
        key: Digest,
        listener: Listener,
        cancel: &Cancel,
        hold: &Hold,
        begin: Begin,
        start: impl FnOnce(ExecCtx) -> F,
    ) -> Landing<O>
    where
        F: Future<Output = Under<O>> + Send + 'static,
    {
        let mut boarding = Some((listener, start));
        let (mut seat, first) = loop {
            match self.board(key, begin, &mut boarding) {
                Boarded::Seat { flight, first } => {
                    break (Seat { flights: self, flight, taken: true }, first);
                }
                // Its last waiter has left: its end has to be awaited before the work can be done again.
                Boarded::Ending(flight) => drop(flight.landed().await),
            }
        };
        let started = seat.flight.ctx.started.clone();
        let given_up = async {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = hold.held() => {}
            }
            // What runs is nobody's to end but `cancel`'s.
            if started.load(Ordering::Relaxed) {
                cancel.cancelled().await;
            }
        };
        let landing = tokio::select! {
            biased;
            landing = seat.flight.landed() => landing,
            () = given_up => {
                if seat.leave() { seat.flight.landed().await } else { Landing::Cancelled }
            }
        };
        seat.taken = false;
        match landing {
            Landing::Ran(outputs) if !first => Landing::Found(outputs),
            Landing::Panicked(message) => panic!("an op panicked: {message}"),
            landing => landing,
        }
    }

    /// Joins the running execution `key` or starts it; takes what is in `boarding` unless it answers
    /// [`Boarded::Ending`].
    fn board<S, F>(
        self: &Arc<Self>,
        key: Digest,
        begin: Begin,
        boarding: &mut Option<(Listener, S)>,
    ) -> Boarded<O>
    where
        S: FnOnce(ExecCtx) -> F,
        F: Future<Output = Under<O>> + Send + 'static,
    {
        let mut running = self.running.lock().expect("never poisoned: nothing panics under it");
        if let Some(flight) = running.get(&key)
            && flight.ctx.cancel.is_cancelled()
        {
            return Boarded::Ending(flight.clone());
        }
        let (listener, start) = boarding.take().expect("boarding ends with the first seat");
        if let Some(flight) = running.get(&key).cloned() {
            flight.n_waiting.fetch_add(1, Ordering::Relaxed);
            let mut audience = flight.ctx.audience.lock().expect("no listener panics");
            if audience.iter().any(|it| it.started.load(Ordering::Relaxed)) {
                listener.start();
            }
            audience.push(listener);
            drop(audience);
            return Boarded::Seat { flight, first: false };
        }
        let ctx = ExecCtx::new(Cancel::new(), listener);
        let flight = Arc::new(Flight {
            ctx: ctx.clone(),
            landing: watch::Sender::new(None),
            n_waiting: AtomicUsize::new(1),
        });
        running.insert(key, flight.clone());
        drop(running);
        self.launch(key, &flight, begin, start(ctx));
        Boarded::Seat { flight, first: true }
    }

    /// Runs `work` as the task of `flight`.
    fn launch<F>(self: &Arc<Self>, key: Digest, flight: &Flight<O>, begin: Begin, work: F)
    where
        F: Future<Output = Under<O>> + Send + 'static,
    {
        let flying = Flying { flights: self.clone(), key, landing: flight.landing.clone() };
        let mut task = Box::pin(async move {
            match caught(work).await {
                Err(panic) => flying.land(panic),
                Ok(Under::Landed(landing)) => flying.land(landing),
                // Told from there: those who wait are woken by nobody in between.
                Ok(Under::Way(rest)) => {
                    on_own_thread(async move {
                        flying.land(caught(rest).await.unwrap_or_else(|panic| panic));
                    });
                }
            }
        });
        match begin {
            Begin::Here if (&mut task).now_or_never().is_some() => {}
            Begin::Here | Begin::Task => drop(tokio::spawn(task)),
        }
    }
}

/// An execution as its task has it. Dropped, it lands in any case: the runtime is being shut down.
struct Flying<O: Op> {
    flights: Arc<Flights<O>>,
    key: Digest,
    landing: watch::Sender<Option<Landing<O>>>,
}

impl<O: Op> Drop for Flying<O> {
    fn drop(&mut self) {
        if self.landing.borrow().is_none() {
            self.land(Landing::Cancelled);
        }
    }
}

impl<O: Op> Flying<O> {
    fn land(&self, outcome: Landing<O>) {
        // Removed first: who comes now looks into the cache, where the result is.
        self.flights.running.lock().expect("never poisoned: nothing panics under it").remove(&self.key);
        self.landing.send_replace(Some(outcome));
    }
}

/// What `work` gives, or its panic as a landing.
async fn caught<O: Op, T>(work: impl Future<Output = T>) -> Result<T, Landing<O>> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|it| (*it).to_owned());
        Landing::Panicked(text.or(panic.downcast_ref().cloned()).unwrap_or_default())
    })
}

impl<O: Op> Flight<O> {
    async fn landed(&self) -> Landing<O> {
        let mut landing = self.landing.subscribe();
        let landed = landing.wait_for(Option::is_some).await.expect("the sender lives in `self`");
        landed.clone().expect("waited for Some")
    }
}

impl<O: Op> Seat<'_, O> {
    /// Gives the seat up; whether it was the last one, and the execution is told to stop.
    fn leave(&mut self) -> bool {
        self.taken = false;
        let _running = self.flights.running.lock().expect("as above");
        let is_last = self.flight.n_waiting.fetch_sub(1, Ordering::Relaxed) == 1;
        if is_last {
            self.flight.ctx.cancel.cancel();
        }
        is_last
    }
}

impl<O: Op> Drop for Seat<'_, O> {
    fn drop(&mut self) {
        if self.taken {
            self.leave();
        }
    }
}
