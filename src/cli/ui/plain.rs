//! Plain progress: every line of every step, in BuildKit's shape (`#4 0.123 text`), for logs.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::SystemTime;

use super::Display;
use super::model::{Model, State, duration, printable, size};
use crate::engine::event::Event;

/// The display and what it has printed so far.
#[derive(Default)]
pub(super) struct Plain {
    model: Model,
    /// The step printed last: another one is set apart by a blank line and its name.
    last: Option<usize>,
    /// Unfinished last lines of steps' output.
    partial: BTreeMap<usize, Vec<u8>>,
    /// Steps whose name was printed.
    named: Vec<bool>,
}

impl Plain {
    /// Makes `idx` the step that is being printed.
    fn turn_to(&mut self, idx: usize, out: &mut dyn Write) -> io::Result<()> {
        self.named.resize(self.model.steps.len(), false);
        if self.last == Some(idx) {
            return Ok(());
        }
        if self.last.is_some() {
            writeln!(out)?;
        }
        self.last = Some(idx);
        let step = &self.model.steps[idx];
        if self.named[idx] {
            writeln!(out, "#{} ...", step.number)
        } else {
            self.named[idx] = true;
            writeln!(out, "#{} {}", step.number, step.name)
        }
    }

    fn line(&self, idx: usize, line: &[u8], out: &mut dyn Write) -> io::Result<()> {
        let step = &self.model.steps[idx];
        let seconds = step.elapsed(SystemTime::now()).as_secs_f64();
        write!(out, "#{} {seconds:.3} ", step.number)?;
        out.write_all(line)?;
        writeln!(out)
    }

    /// Prints what the step's last, unfinished line holds.
    fn flush_partial(&mut self, idx: usize, out: &mut dyn Write) -> io::Result<()> {
        match self.partial.remove(&idx) {
            Some(rest) => self.line(idx, &rest, out),
            None => Ok(()),
        }
    }
}

impl Display for Plain {
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        let idx = self.model.update(event);
        match event {
            Event::Started { .. } => self.turn_to(idx, out)?,
            Event::Log { bytes, .. } => {
                self.turn_to(idx, out)?;
                let mut rest = bytes.as_slice();
                while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                    let (line, more) = (&rest[..end], &rest[end + 1..]);
                    // What was not finished before is looked at once, when it is.
                    let mut whole = self.partial.remove(&idx).unwrap_or_default();
                    whole.extend_from_slice(line);
                    self.line(idx, whole.strip_suffix(b"\r").unwrap_or(&whole), out)?;
                    rest = more;
                }
                if !rest.is_empty() {
                    self.partial.entry(idx).or_default().extend_from_slice(rest);
                }
            }
            Event::Progress { current, total: Some(total), id, .. } if current == total => {
                self.turn_to(idx, out)?;
                writeln!(out, "#{} {id} {} done", self.model.steps[idx].number, size(*total))?;
            }
            Event::Progress { .. } => {}
            Event::Completed { .. } | Event::Cached { .. } => {
                self.turn_to(idx, out)?;
                self.flush_partial(idx, out)?;
                let step = &self.model.steps[idx];
                match &step.state {
                    State::Cached => writeln!(out, "#{} CACHED", step.number)?,
                    State::Failed(error) => writeln!(out, "#{} ERROR: {error}", step.number)?,
                    State::Done | State::Running => {
                        writeln!(out, "#{} DONE {}", step.number, duration(step.elapsed(SystemTime::now())))?;
                    }
                }
                self.model.shown(idx);
                out.flush()?;
            }
            Event::Warning { message, .. } => {
                self.turn_to(idx, out)?;
                writeln!(out, "#{} WARNING: {}", self.model.steps[idx].number, printable(message))?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        while let Some((&idx, _)) = self.partial.first_key_value() {
            self.turn_to(idx, out)?;
            self.flush_partial(idx, out)?;
        }
        Ok(())
    }
}
