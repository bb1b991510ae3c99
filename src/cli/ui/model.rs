//! What every display needs to know of the build so far.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use crate::base::Digest;
use crate::engine::event::{Event, Seam};

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

/// One step of which something is still to be shown.
#[derive(Debug)]
pub(super) struct Step {
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
    /// Last output, both streams, whole bytes from some point on.
    tail: Vec<u8>,
    seam: Seam,
    /// Transfers by id: current and total bytes.
    transfers: Vec<(String, u64, Option<u64>)>,
}

impl Step {
    fn new(name: &str, started: SystemTime) -> Step {
        Step { name: name.into(), started, completed: None, state: State::Running, work: None }
    }

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

/// The start of a vertex's digest. Two that are alike in it are not met by chance, and there may be a hundred thousand.
type Short = [u8; 12];

/// The steps that were heard of; more than a number only of those that were not yet [shown](Model::shown).
#[derive(Debug, Default)]
pub(super) struct Model {
    /// By number.
    pub(crate) steps: BTreeMap<u32, Step>,
    /// Shown as `#n`, from 1, in the order in which they were first heard of.
    numbers: HashMap<Short, u32>,
}

impl Model {
    /// Takes an event in; gives the number of the step it is about.
    pub(super) fn update(&mut self, event: &Event) -> u32 {
        match event {
            Event::Started { vertex, name, at, .. } => {
                let (number, step) = self.begin(vertex, name, *at);
                (step.started, step.state, step.completed) = (*at, State::Running, None);
                number
            }
            Event::Log { vertex, stream, bytes } => {
                let (number, step) = self.step(vertex);
                if let Some(step) = step {
                    let Work { tail, seam, .. } = &mut **step.work.get_or_insert_default();
                    seam.append(tail, *stream, bytes);
                    if 2 * TAIL_BYTES < tail.len() {
                        tail.drain(..tail.len() - TAIL_BYTES);
                    }
                }
                number
            }
            Event::Progress { vertex, id, current, total, .. } => {
                let (number, step) = self.step(vertex);
                if let Some(step) = step {
                    let transfers = &mut step.work.get_or_insert_default().transfers;
                    match transfers.iter_mut().find(|(known, ..)| known == id) {
                        Some(transfer) => (transfer.1, transfer.2) = (*current, *total),
                        None => transfers.push((id.clone(), *current, *total)),
                    }
                }
                number
            }
            Event::Cached { vertex, name, at, .. } => {
                let (number, step) = self.begin(vertex, name, *at);
                (step.completed, step.state) = (Some(*at), State::Cached);
                number
            }
            Event::Completed { vertex, at, error, cached } => {
                let (number, step) = self.step(vertex);
                if let Some(step) = step {
                    step.completed = Some(*at);
                    step.state = match (error, cached) {
                        (Some(error), _) => {
                            let lines: Vec<String> = error.lines().map(printable).collect();
                            State::Failed(lines.join("\n").into())
                        }
                        (None, true) => State::Cached,
                        (None, false) => State::Done,
                    };
                }
                number
            }
            Event::Warning { vertex, .. } => self.step(vertex).0,
        }
    }

    /// Forgets of a step all but its number: it ended, and that was shown. Gives what there was.
    pub(super) fn shown(&mut self, number: u32) -> Option<Step> {
        self.steps.remove(&number)
    }

    /// How many steps were heard of.
    pub(super) fn n_steps(&self) -> usize {
        self.numbers.len()
    }

    /// A step of which something is to be shown from now on, maybe again: definitions that steps make may have steps that
    /// were met before.
    fn begin(&mut self, vertex: &Digest, name: &str, at: SystemTime) -> (u32, &mut Step) {
        let number = self.number(vertex).0;
        let new = || Step::new("", at);
        let step = self.steps.entry(number).or_insert_with(new);
        if step.name.is_empty() {
            step.name = one_line(name).into();
        }
        (number, step)
    }

    /// A step, unless it ended before. It may be told of before it begins.
    fn step(&mut self, vertex: &Digest) -> (u32, Option<&mut Step>) {
        let (number, is_new) = self.number(vertex);
        if is_new {
            self.steps.insert(number, Step::new("", SystemTime::now()));
        }
        (number, self.steps.get_mut(&number))
    }

    /// The number of a vertex, and whether it is new.
    fn number(&mut self, vertex: &Digest) -> (u32, bool) {
        let next = self.numbers.len() as u32 + 1;
        let short = *vertex.as_bytes().first_chunk().expect("a digest is longer");
        let number = *self.numbers.entry(short).or_insert(next);
        (number, number == next)
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
