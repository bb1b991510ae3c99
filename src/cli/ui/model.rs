//! What every display needs to know of the build so far.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use crate::base::Digest;
use crate::engine::event::Event;

/// How much of a running step's output a display can show.
const TAIL_BYTES: usize = 16 * 1024;

/// Where a step is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Done,
    Cached,
    Failed(Box<str>),
}

/// One step, in the order in which it was first heard of. There may be a hundred thousand of them.
#[derive(Debug)]
pub(super) struct Step {
    /// Shown as `#n`, from 1.
    pub(crate) number: u32,
    pub(crate) name: Box<str>,
    pub(crate) started: SystemTime,
    pub(crate) completed: Option<SystemTime>,
    pub(crate) state: State,
    /// `None` while nothing came of it.
    work: Option<Box<Work>>,
}

/// What comes of a step.
#[derive(Debug, Default)]
struct Work {
    /// Last output, both streams, whole bytes from some point on; of a step that runs.
    tail: Vec<u8>,
    /// Transfers by id: current and total bytes.
    transfers: Vec<(String, u64, Option<u64>)>,
}

impl Step {
    /// Time from start to completion, or until `now`.
    pub(super) fn elapsed(&self, now: SystemTime) -> Duration {
        self.completed.unwrap_or(now).duration_since(self.started).unwrap_or_default()
    }

    /// Last `n` lines of output, oldest first, made safe for a terminal.
    pub(super) fn last_lines(&self, n: usize) -> Vec<String> {
        let text = String::from_utf8_lossy(self.work.as_ref().map_or(&[][..], |work| &work.tail));
        let mut lines: Vec<String> = text.lines().map(printable).filter(|line| !line.is_empty()).collect();
        lines.drain(..lines.len().saturating_sub(n));
        lines
    }

    /// How many bytes were moved.
    pub(super) fn n_moved(&self) -> u64 {
        self.work.iter().flat_map(|work| &work.transfers).map(|(_, current, _)| current).sum()
    }
}

/// All steps.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(crate) steps: Vec<Step>,
    by_digest: HashMap<Digest, u32>,
}

impl Model {
    /// Takes an event in; gives the index of the step it is about.
    pub(super) fn update(&mut self, event: &Event) -> usize {
        match event {
            Event::Started { vertex, name, at, .. } => {
                let idx = self.index(*vertex, name, *at);
                let step = &mut self.steps[idx];
                (step.started, step.state, step.completed) = (*at, State::Running, None);
                idx
            }
            Event::Log { vertex, bytes, .. } => {
                let idx = self.index(*vertex, "", SystemTime::now());
                let tail = &mut self.steps[idx].work.get_or_insert_default().tail;
                tail.extend_from_slice(bytes);
                if 2 * TAIL_BYTES < tail.len() {
                    tail.drain(..tail.len() - TAIL_BYTES);
                }
                idx
            }
            Event::Progress { vertex, id, current, total, .. } => {
                let idx = self.index(*vertex, "", SystemTime::now());
                let transfers = &mut self.steps[idx].work.get_or_insert_default().transfers;
                match transfers.iter_mut().find(|(known, ..)| known == id) {
                    Some(transfer) => (transfer.1, transfer.2) = (*current, *total),
                    None => transfers.push((id.clone(), *current, *total)),
                }
                idx
            }
            Event::Cached { vertex, name, at, .. } => {
                let idx = self.index(*vertex, name, *at);
                let step = &mut self.steps[idx];
                (step.completed, step.state) = (Some(*at), State::Cached);
                idx
            }
            Event::Completed { vertex, at, error, cached } => {
                let idx = self.index(*vertex, "", *at);
                let step = &mut self.steps[idx];
                step.completed = Some(*at);
                // What it wrote is shown while it runs.
                step.work.iter_mut().for_each(|work| work.tail = Vec::new());
                step.state = match (error, cached) {
                    (Some(error), _) => {
                        let text = error.lines().map(printable).collect::<Vec<_>>().join(
                            "
",
                        );
                        State::Failed(text.into())
                    }
                    (None, true) => State::Cached,
                    (None, false) => State::Done,
                };
                idx
            }
            Event::Warning { vertex, .. } => self.index(*vertex, "", SystemTime::now()),
        }
    }

    /// Forgets what only who shows a step again would need.
    pub(super) fn shown(&mut self, idx: usize) {
        self.steps[idx].name = Box::default();
        self.steps[idx].work = None;
    }

    /// Steps that are no longer running.
    pub(super) fn n_finished(&self) -> usize {
        self.steps.iter().filter(|step| step.state != State::Running).count()
    }

    fn index(&mut self, vertex: Digest, name: &str, at: SystemTime) -> usize {
        let next = self.steps.len() as u32;
        let idx = *self.by_digest.entry(vertex).or_insert(next);
        if idx == next {
            let (name, state) = (one_line(name).into(), State::Running);
            let (number, started) = (next + 1, at);
            self.steps.push(Step { number, name, started, completed: None, state, work: None });
        }
        idx as usize
    }
}

/// The text on one line: runs of white space are one blank; nothing in it speaks to the terminal.
pub(crate) fn one_line(text: &str) -> String {
    printable(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// What a terminal shows of a line: the part behind the last carriage return, escape sequences and control
/// characters removed.
pub(super) fn printable(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    let line = line.rsplit('\r').next().unwrap_or(line);
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\t' => out.push_str("    "),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Skips what follows an ESC: a CSI sequence to its final byte, an OSC string to BEL or ESC, else one character.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        Some('[') => while chars.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {},
        Some(']') => while chars.next().is_some_and(|c| c != '\u{7}' && c != '\u{1b}') {},
        _ => {}
    }
}

/// `1.2s`, `1m 4s`.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1}s")
    } else {
        format!("{}m {:.0}s", time.as_secs() / 60, seconds % 60.0)
    }
}

/// `12.3MB`, in powers of ten as registries count.
pub(in crate::cli) fn size(n_bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = n_bytes as f64;
    let mut unit = 0;
    while 1000.0 <= value && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{n_bytes}B") } else { format!("{value:.1}{}", units[unit]) }
}
