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
    last: Option<u32>,
    /// Unfinished last lines of steps' output.
    partial: BTreeMap<u32, Vec<u8>>,
    /// Whether the name of a step was printed, by its number.
    named: Vec<bool>,
}

impl Plain {
    /// Makes `number` the step that is being printed.
    fn turn_to(&mut self, number: u32, out: &mut dyn Write) -> io::Result<()> {
        self.named.resize(self.model.n_steps() + 1, false);
        if self.last == Some(number) {
            return Ok(());
        }
        if self.last.is_some() {
            writeln!(out)?;
        }
        self.last = Some(number);
        let is_named = std::mem::replace(&mut self.named[number as usize], true);
        match self.model.steps.get(&number) {
            Some(step) if !is_named => writeln!(out, "#{number} {}", step.name),
            _ => writeln!(out, "#{number} ..."),
        }
    }

    fn line(&self, number: u32, line: &[u8], out: &mut dyn Write) -> io::Result<()> {
        let elapsed = self.model.steps.get(&number).map(|step| step.elapsed(SystemTime::now()));
        let seconds = elapsed.unwrap_or_default().as_secs_f64();
        write!(out, "#{number} {seconds:.3} ")?;
        out.write_all(line)?;
        writeln!(out)
    }

    /// Prints what the step's last, unfinished line holds.
    fn flush_partial(&mut self, number: u32, out: &mut dyn Write) -> io::Result<()> {
        match self.partial.remove(&number) {
            Some(rest) => self.line(number, &rest, out),
            None => Ok(()),
        }
    }
}

impl Display for Plain {
    fn event(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        let number = self.model.update(event);
        match event {
            Event::Started { .. } => self.turn_to(number, out)?,
            Event::Log { bytes, .. } => {
                self.turn_to(number, out)?;
                let mut rest = bytes.as_slice();
                while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                    let (line, more) = (&rest[..end], &rest[end + 1..]);
                    // What was not finished before is looked at once, when it is.
                    let mut whole = self.partial.remove(&number).unwrap_or_default();
                    whole.extend_from_slice(line);
                    self.line(number, whole.strip_suffix(b"\r").unwrap_or(&whole), out)?;
                    rest = more;
                }
                if !rest.is_empty() {
                    self.partial.entry(number).or_default().extend_from_slice(rest);
                }
            }
            Event::Progress { current, total: Some(total), id, .. } if current == total => {
                self.turn_to(number, out)?;
                writeln!(out, "#{number} {id} {} done", size(*total))?;
            }
            Event::Progress { .. } => {}
            // It may be told twice, by two definitions that have the step: it ended once.
            Event::Completed { .. } | Event::Cached { .. } if self.model.steps.contains_key(&number) => {
                self.turn_to(number, out)?;
                self.flush_partial(number, out)?;
                let Some(step) = self.model.shown(number) else { return Ok(()) };
                match &step.state {
                    State::Cached => writeln!(out, "#{number} CACHED")?,
                    State::Failed(error) => writeln!(out, "#{number} ERROR: {error}")?,
                    State::Done | State::Running => {
                        writeln!(out, "#{number} DONE {}", duration(step.elapsed(SystemTime::now())))?;
                    }
                }
                out.flush()?;
            }
            Event::Completed { .. } | Event::Cached { .. } => {}
            Event::Warning { message, .. } => {
                self.turn_to(number, out)?;
                writeln!(out, "#{number} WARNING: {}", printable(message))?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        while let Some((&number, _)) = self.partial.first_key_value() {
            self.turn_to(number, out)?;
            self.flush_partial(number, out)?;
        }
        Ok(())
    }
}
